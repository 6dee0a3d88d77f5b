"""folder: your own images: any tree of PNG and JPEG files.

Images are cropped at the centre to the aspect of image_size and averaged down to it (rounded to the
nearest level, by Pillow). They have one channel where all files are grayscale, else three. Turned
as their EXIF orientation says; transparent pixels show white; of 16 bits the upper 8 are kept.
image_size may be left out where all have one size.

Training and test images: the folders train/ and test/ (or validation/, valid/, val/) if there are
both, else a hash of each file's relative name decides, so the split is the same in every run, and
stays so when files are added.

Labels: the sub-folders, where all images lie in two or more of them. A file attributes.csv in the
folder or beside it (filename, then -1/1 per attribute) gives DataSet.attributes, and with
`label_attribute` the labels.

Every file is decoded once before training, and all that cannot be used are reported together, by
name. Images that fit into `memory_mb` then stay in memory; others are decoded anew in parallel
inside tf.data.

dal 0 and 1: no augmentation, as the original's image folders and records. dal 2: horizontal flips.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np

from data_loaders.augment import FLIPS, NO_AUGMENTATION
from data_loaders.dataset import DataSet
from data_loaders.errors import DataError
from data_loaders.folder.attributes import Attributes, find_attributes, rows_of
from data_loaders.folder.images import BadImageError, Header, centre_box, read_header, read_image
from data_loaders.folder.scan import find_images, folder_classes, split_files
from data_loaders.folder.source import FileSource, default_workers, for_each_file
from data_loaders.request import Request
from data_loaders.sources import ArraySource, Source
from data_loaders.text import listing, printable

_FEW_IMAGES = 100


def load(
    request: Request,
    *,
    attributes_file: str = "",
    label_attribute: str = "",
    labels: str = "auto",
    test_fraction: float = 0.1,
    bad_images: str = "error",
    check: str = "decode",
    memory_mb: int = 1024,
) -> DataSet:
    """Loads a folder of images.

    Args:
      request: data_dir is the folder; category, if any, a folder inside it.
      attributes_file: the CSV of attributes; "" to look for attributes.csv.
      label_attribute: the attribute that becomes the label, 0 or 1.
      labels: "folders" (an error without two sub-folders), "none", or "auto": folders where there
        are any.
      test_fraction: share of the test images where a hash decides.
      bad_images: "error", or "skip" to warn and go on without them (also with request.skip_corrupt).
      check: "decode" every file before training, or only the "headers".
      memory_mb: the most mebibytes of decoded images to keep in memory, 0 to keep none.
    """
    _check_choice("labels", labels, ("auto", "folders", "none"))
    _check_choice("bad_images", bad_images, ("error", "skip"))
    if request.skip_corrupt:
        bad_images = "skip"
    _check_choice("check", check, ("decode", "headers"))
    if not 0 < test_fraction < 1:
        raise DataError(f"test_fraction must be between 0 and 1; got {test_fraction!r}.")
    if not request.data_dir:
        raise DataError("Problem 'folder' needs data_dir, the folder of your images.")
    root = os.path.join(request.data_dir, request.category)
    workers = request.workers or default_workers()
    names = find_images(root)
    attributes = find_attributes(root, attributes_file, names)

    bad: dict[str, BadImageError] = {}
    headers = _read_headers(root, names, workers, bad)
    size = request.image_size or _common_size(root, headers, bad)
    shape = (*size, 1 if all(header.gray for header in headers.values()) else 3)
    _check_sizes(headers, size, bad)
    good = [name for name in names if name not in bad]
    in_memory = len(good) * int(np.prod(shape)) <= memory_mb * 2**20
    pixels = None
    if in_memory or check == "decode":
        pixels = _decode(root, good, shape, workers, bad, keep=in_memory)
    _report(root, bad, len(names), bad_images)

    place = {name: row for row, name in enumerate(good)}  # in `pixels`
    train, test, told_by = split_files([name for name in good if name not in bad], test_fraction)
    used = sorted({*train, *test})
    if len(used) < _FEW_IMAGES:
        warnings.warn(
            f"Only {len(used)} images in {printable(root)}: a model will memorise them.",
            stacklevel=2,
        )
    class_names, classes = _labels(root, used, told_by, labels, label_attribute, attributes)
    class_of = dict(zip(used, classes.tolist(), strict=True))

    def source(names: Sequence[str]) -> Source:
        y = np.asarray([class_of[name] for name in names], np.int32)
        if pixels is not None:
            return ArraySource(pixels[[place[name] for name in names]], y)
        return FileSource(root, names, y, shape, workers)

    values = None
    if attributes is not None:
        values = {
            "train": rows_of(attributes, root, train),
            "test": rows_of(attributes, root, test),
        }
    return DataSet(
        request,
        source(train),
        source(test),
        n_y=max(1, len(class_names or ())),
        augmentation=FLIPS if request.dal == 2 else NO_AUGMENTATION,
        class_names=class_names,
        attributes=None if attributes is None else attributes.names,
        attribute_values=values,
        file_names={"train": train, "test": test},
    )


def _read_headers(root: str, names: Sequence[str], workers: int, bad: dict[str, BadImageError]) -> dict[str, Header]:
    headers = {}
    for name, header in for_each_file(root, names, read_header, workers):
        if isinstance(header, BadImageError):
            bad[name] = header
        else:
            headers[name] = header
    if not headers:
        _report(root, bad, len(names), "error")
    return headers


def _common_size(root: str, headers: dict[str, Header], bad: dict[str, BadImageError]) -> tuple[int, int]:
    sizes = sorted({(header.height, header.width) for header in headers.values()})
    if len(sizes) > 1:
        shown = ", ".join(f"{h}x{w}" for h, w in sizes[:5]) + (", ..." if len(sizes) > 5 else "")
        unread = f" ({len(bad)} more files cannot be read.)" if bad else ""
        raise DataError(
            f"The images in {printable(root)} have {len(sizes)} sizes ({shown}): give image_size. "
            f"The smallest height is {min(h for h, _ in sizes)}, the smallest width "
            f"{min(w for _, w in sizes)}.{unread}"
        )
    return sizes[0]


def _check_sizes(headers: dict[str, Header], size: tuple[int, int], bad: dict[str, BadImageError]) -> None:
    for name, header in headers.items():
        try:
            centre_box((header.height, header.width), size)
        except BadImageError as error:
            bad[name] = error


def _decode(
    root: str,
    names: Sequence[str],
    shape: tuple[int, int, int],
    workers: int,
    bad: dict[str, BadImageError],
    *,
    keep: bool,
) -> np.ndarray | None:
    """Decodes all; uint8 [len(names), *shape] if they are kept (rows of bad ones are undefined)."""
    pixels = np.empty((len(names), *shape), np.uint8) if keep else None
    decoded = for_each_file(root, names, lambda path: read_image(path, shape[:2], shape[2]), workers)
    for number, (name, image) in enumerate(decoded):
        if isinstance(image, BadImageError):
            bad[name] = image
        elif pixels is not None:
            pixels[number] = image
    return pixels


def _report(root: str, bad: dict[str, BadImageError], count: int, bad_images: str) -> None:
    if not bad:
        return
    lines = [f"{printable(name)} {error}" for name, error in sorted(bad.items())]
    message = f"{len(bad)} of {count} images in {printable(root)} cannot be used:\n{listing(lines)}"
    if bad_images == "error" or len(bad) == count:
        raise DataError(f"{message}\nRemove them or choose a smaller image_size (or --skip_corrupt leaves them out).")
    warnings.warn(message, stacklevel=3)


def _labels(
    root: str,
    names: Sequence[str],
    told_by: str,
    labels: str,
    label_attribute: str,
    attributes: Attributes | None,
) -> tuple[tuple[str, ...] | None, np.ndarray]:
    """The names of the classes, or None, and int32 [len(names)]."""
    if label_attribute:
        if attributes is None or label_attribute not in attributes.names:
            there = ", ".join(attributes.names) if attributes else "none (there is no attributes.csv)"
            raise DataError(f"There is no attribute {label_attribute!r}; there are: {there}.")
        column = rows_of(attributes, root, names)[:, attributes.names.index(label_attribute)]
        return (f"not {label_attribute}", label_attribute), (column > 0).astype(np.int32)
    found = None
    if labels != "none":
        below = [name.split("/", 1)[1] for name in names] if told_by == "folders" else names
        found = folder_classes(below)
    if found is None:
        if labels == "folders":
            raise DataError(
                f"labels='folders', but the images in {printable(root)} do not lie in two or more sub-folders."
            )
        return None, np.zeros(len(names), np.int32)
    class_names = tuple(sorted(set(found)))
    return class_names, np.asarray([class_names.index(name) for name in found], np.int32)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise DataError(f"{name} must be one of {', '.join(allowed)}; got {value!r}.")
