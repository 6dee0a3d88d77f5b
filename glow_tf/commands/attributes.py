"""attributes: the direction of every attribute in latent space, an .npz file for `manipulate`.

It is the mean latent of the images with the attribute minus the mean latent of those without. The attributes are those
of the data's attributes.csv (a row of -1/1 for every image), else its classes: one against the others.

    python -m glow_tf attributes runs/digits --out attributes.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from glow_tf.commands.arguments import (
    PROGRAM,
    CommandError,
    add_batch,
    add_label,
    add_model,
    check_out,
    whole_number,
)
from glow_tf.commands.contexts import check_made_of_images
from glow_tf.commands.data import SPLITS, add_data, check_data, load_data
from glow_tf.commands.image_arguments import label_of

HELP = "directions of attributes in latent space, from labelled images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    add_data(parser)
    parser.add_argument("--attributes_file", type=Path, help="the CSV, where it is not the data's attributes.csv")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--classes", action="store_true", help="the data's classes, even if it has attributes")
    parser.add_argument("--split", choices=SPLITS, default="train", help="(default train)")
    parser.add_argument("--n", type=whole_number(2), help="only the first so many images (default: all)")
    parser.add_argument("--out", type=Path, default=Path("attributes.npz"), help="(default attributes.npz)")
    add_label(parser)
    add_batch(parser)


def check(args: argparse.Namespace) -> None:
    """Settles data and label."""
    check_made_of_images(args.location)
    args.data = check_data(args, args.location)
    args.label = label_of(args)
    if args.attributes_file is not None:
        if args.classes:
            raise CommandError("--classes and --attributes_file contradict each other; give one of them")
        if args.data.problem != "folder":
            raise CommandError(f"--attributes_file is for --problem folder, not {args.data.problem}")
        if not args.attributes_file.is_file():
            raise CommandError(f"--attributes_file {args.attributes_file}: there is no such file")
    check_out(args.out, [".npz"])


def run(args: argparse.Namespace) -> None:
    """Streams over the images, and writes the directions."""
    from data_loaders.progress import Progress
    from glow_tf.commands.batches import encode_batch
    from glow_tf.commands.models import open_model
    from glow_tf.latents.directions import AttributeMeans
    from glow_tf.latents.files import Attributes, write_attributes

    options = {"attributes_file": str(args.attributes_file)} if args.attributes_file is not None else {}
    data = load_data(args.data, args.location, **options)
    names, values = labels_of(data, args.split, wanted=args.names, classes=args.classes)
    n = min(args.n or len(values), len(values))
    loaded = open_model(args.location, args.weights)
    means = AttributeMeans(len(names), args.location.config.dimensions)
    with Progress("encoding", n) as progress:
        for x, _ in data.batches_in_order(args.split, min(args.batch, n)):
            images = x[: n - means.n].numpy()
            rows = values[means.n : means.n + len(images)]
            means.add(encode_batch(loaded.glow, images, args.label), rows)
            progress.update(len(images))
            if means.n == n:
                break
    has_both = (means.n_with > 0) & (means.n_without > 0)
    one_sided = [name for name, good in zip(names, has_both, strict=True) if not good]
    if not has_both.any():
        raise CommandError(f"none of {', '.join(one_sided)}: all images have it, or none has")
    if one_sided:
        print(f"{PROGRAM}: warning: left out, as all images or none have it: {', '.join(one_sided)}", file=sys.stderr)
    kept = [name for name, good in zip(names, has_both, strict=True) if good]
    found = Attributes(
        names=tuple(kept),
        directions=means.directions()[has_both],
        n_with=means.n_with[has_both],
        n_without=means.n_without[has_both],
        mean=means.mean(),
        label=args.label,
        model=loaded.glow.fingerprint(),
    )
    write_attributes(args.out, found)
    for name, has, lacks in zip(kept, found.n_with, found.n_without, strict=True):
        print(f"{name}: {has} with, {lacks} without")
    print(f"{args.out}: {len(kept)} directions from {n} {args.split} images of {data.name}; {loaded.weights}")


def labels_of(data: Any, split: str, *, wanted: list[str] | None, classes: bool) -> tuple[list[str], np.ndarray]:
    """Names, and int8 [n, names] of -1 and 1 for the images of a split.

    Raises:
      CommandError: the data has no attributes and no classes, or not the wanted ones.
    """
    if data.attributes and not classes:
        names, values = list(data.attributes), data.attribute_values(split)
    elif data.n_y > 1:
        names = list(data.class_names or map(str, range(data.n_y)))
        values = np.where(data.labels(split)[:, None] == np.arange(data.n_y), 1, -1).astype(np.int8)
    else:
        raise CommandError(f"{data.name} has neither attributes (attributes.csv) nor classes (sub-folders)")
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        raise CommandError(f"--names: there is no {', '.join(unknown)}; there are: {', '.join(names)}")
    columns = [names.index(name) for name in wanted or names]
    return [names[column] for column in columns], values[:, columns]
