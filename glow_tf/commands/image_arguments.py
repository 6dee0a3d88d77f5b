"""Images as arguments: PNG and JPEG files, folders of them, and images of a data set such as test:7."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glow_tf.commands.arguments import CommandError, check_out, whole_number
from glow_tf.commands.data import add_data, check_data, load_data
from glow_tf.commands.folders import ModelLocation
from glow_tf.config import GlowConfig
from glow_tf.images import enlargement_for

_OF_DATA = re.compile(r"(train|test):(\d{1,9})(?:-(\d{1,9}))?")
_MOST_OF_DATA = 100_000


class Place(NamedTuple):
    """Where an image is: a file, or (split, number) of the data set."""

    name: str
    path: Path | None = None
    split: str = ""
    number: int = 0


def add_images(parser: argparse.ArgumentParser, name: str = "images", about: str = "") -> None:
    """IMAGE..., or the option of this name, and the data that test:7 means."""
    parser.add_argument(
        name,
        nargs="+",
        metavar="IMAGE",
        help=f"{about}PNG or JPEG files (cropped at the centre and averaged down to the model's size), folders of"
        " them, or test:7, train:0-3: images of the run's data",
    )
    parser.add_argument(
        "--crop",
        type=whole_number(0),
        metavar="PIXELS",
        help="side of the square cut out of the centre of each file first, 0 for none (default: that of the run)",
    )
    add_data(parser)


def check_pictures(args: argparse.Namespace, endings: Sequence[str]) -> None:
    """Settles what commands that show images share: the images, --scale, and --out's endings.

    Raises:
      CommandError: something is not there, or cannot be written.
    """
    check_images(args, args.location)
    args.scale = args.scale or enlargement_for(args.location.config.height, args.location.config.image_width)
    for path in args.out if isinstance(args.out, list) else [args.out]:
        check_out(path, endings)


def check_images(args: argparse.Namespace, location: ModelLocation) -> None:
    """Settles args.places, args.crop and args.data (None where no image is of the data).

    Raises:
      CommandError: something is not there.
    """
    if location.config.channels not in (1, 3):
        raise CommandError(f"image files have 1 or 3 channels; {location.path} is for {location.config.channels}")
    if args.crop is None:
        args.crop = location.train.crop if location.train else 0
    args.places = []
    for text in args.images:
        path, of_data = Path(text), _OF_DATA.fullmatch(text)
        if path.is_file() or path.is_dir():
            args.places.append(Place(text, path))
        elif path.exists():
            raise CommandError(f"{text}: neither a file nor a folder")
        elif of_data:
            first = int(of_data[2])
            last = int(of_data[3] or first)
            if not first <= last < first + _MOST_OF_DATA:
                raise CommandError(f"{text}: at least 1 and at most {_MOST_OF_DATA} images, FIRST-LAST")
            split = of_data[1]
            args.places += [Place(f"{split}-{i}", None, split, i) for i in range(first, last + 1)]
        else:
            raise CommandError(f"{text}: there is no such file or folder")
    of_data_only = any(place.path is None for place in args.places)
    args.data = check_data(args, location) if of_data_only else None


def expand(args: argparse.Namespace) -> list[Place]:
    """The places, with every folder's files in its stead.

    Raises:
      DataError: a folder has no images.
    """
    from data_loaders.folder.scan import find_images

    places: list[Place] = []
    for place in args.places:
        if place.path is not None and place.path.is_dir():
            places += [Place(name, place.path / name) for name in find_images(str(place.path))]
        else:
            places.append(place)
    return places


def read_all(args: argparse.Namespace, places: list[Place]) -> np.ndarray:
    """uint8 [N, H, W, C] of all places, in the model's size. Errors as `read_batches`."""
    return np.concatenate(list(read_batches(args, places, max(1, len(places)))))


def read_batches(args: argparse.Namespace, places: list[Place], batch: int) -> Iterator[np.ndarray]:
    """Batches uint8 [n, H, W, C], in order.

    Raises:
      CommandError: images that cannot be used, by name.
    """
    of_data = _read_data(args, places)
    for begin in range(0, len(places), batch):
        images, bad = [], []
        for place in places[begin : begin + batch]:
            if place.path is None:
                images.append(of_data[place.split, place.number])
                continue
            try:
                images.append(read_file(place.path, args.location.config.image_shape, args.crop))
            except CommandError as error:
                bad.append(str(error))
        if bad:
            raise CommandError("\n".join(bad[:5] + ([f"and {len(bad) - 5} more"] if len(bad) > 5 else [])))
        yield np.stack(images)


def read_file(path: Path, shape: tuple[int, int, int], crop: int = 0) -> np.ndarray:
    """uint8 [H, W, C], which is `shape`, of one file.

    Raises:
      CommandError: it is no PNG or JPEG image, damaged, too large, or smaller than the model's images or the crop.
    """
    from data_loaders.folder.images import BadImageError, read_image
    from data_loaders.text import printable

    try:
        return read_image(path, shape[:2], shape[2], crop)
    except BadImageError as error:
        hint = " (--crop 0 takes the whole image)" if crop else ""
        raise CommandError(f"{printable(str(path))} {error}{hint}") from None


def _read_data(args: argparse.Namespace, places: list[Place]) -> dict[tuple[str, int], np.ndarray]:
    wanted: dict[str, set[int]] = {}
    for place in places:
        if place.path is None:
            wanted.setdefault(place.split, set()).add(place.number)
    if not wanted:
        return {}
    data, held = load_data(args.data, args.location), {}
    for split, numbers in wanted.items():
        there = data.n_train if split == "train" else data.n_test
        if max(numbers) >= there:
            raise CommandError(f"{split}:{max(numbers)}: {data.name} has the {split} images 0 to {there - 1}")
        begin = 0
        for x, _ in data.batches_in_order(split, 64):
            held.update({(split, i): x[i - begin].numpy() for i in numbers if begin <= i < begin + len(x)})
            begin += len(x)
            if begin > max(numbers):
                break
    return held


def label_of(args: argparse.Namespace) -> int:
    """--label, checked.

    Raises:
      CommandError: the model has no such class.
    """
    config: GlowConfig = args.location.config
    if args.label is None:
        return 0
    if not config.takes_labels:
        raise CommandError(f"--label: {args.model} is not class-conditional")
    if args.label >= config.n_y:
        raise CommandError(f"--label {args.label}: {args.model} has the classes 0 to {config.n_y - 1}")
    return args.label
