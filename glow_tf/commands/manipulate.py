"""manipulate: images with more or less of an attribute.

Every row shows an image moved along one direction that `attributes` found, from --low to --high times its length; 0 is
the image itself. With --together it is one row for each image, moved along the sum of the directions; NAME=F gives a
direction the factor F.

    python -m glow_tf manipulate runs/digits test:0-3 --attributes attributes.npz --names 8 --out eights.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glow_tf.commands import outputs
from glow_tf.commands.arguments import (
    STRIP,
    CommandError,
    add_batch,
    add_model,
    add_scale,
    add_strip,
    number,
    whole_number,
)
from glow_tf.commands.contexts import refuse_contexts
from glow_tf.commands.image_arguments import add_images, check_pictures, expand, read_all

if TYPE_CHECKING:
    from glow_tf.latents.files import Attributes

HELP = "images with more or less of an attribute, a strip or GIF"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    add_images(parser)
    parser.add_argument("--attributes", type=Path, required=True, help="what `attributes` wrote, or z_manipulate.npy")
    parser.add_argument("--names", nargs="+", required=True, metavar="NAME[=F]", help="one or several attributes")
    parser.add_argument("--together", action="store_true", help="along the sum of the directions")
    parser.add_argument("--low", type=number(), default=-1.0, help="(default -1)")
    parser.add_argument("--high", type=number(), default=1.0, help="(default 1)")
    parser.add_argument("--steps", type=whole_number(2, 1000), default=7, help="images in a row (default 7)")
    add_strip(parser, "manipulation")
    add_scale(parser)
    add_batch(parser)


def check(args: argparse.Namespace) -> None:
    """Settles places and scale."""
    check_pictures(args, STRIP)
    refuse_contexts(args.location, "manipulate")
    if not args.attributes.is_file():
        raise CommandError(f"--attributes {args.attributes}: there is no such file")
    if not args.low < args.high:
        raise CommandError(f"--low {args.low:g} must be below --high {args.high:g}")


def run(args: argparse.Namespace) -> None:
    """Encodes, moves, decodes and writes."""
    from glow_tf.commands.batches import decode, encode
    from glow_tf.commands.models import open_model, warn_of_another
    from glow_tf.latents.directions import along
    from glow_tf.latents.files import read_attributes
    from glow_tf.latents.flatten import unflatten_latents

    config = args.location.config
    held = read_attributes(args.attributes, config.dimensions)
    directions = [direction_of(held, text, args.attributes) for text in args.names]
    if args.together:
        directions = [np.sum(directions, 0)]
    places = expand(args)
    outputs.check_pixels(len(places) * len(directions) * args.steps, config.height, config.image_width, args.scale)
    images = read_all(args, places)
    loaded = open_model(args.location, args.weights)
    warn_of_another(loaded.glow, held.model, args.attributes)
    latents = encode(loaded.glow, images, held.label, args.batch)
    alphas = np.linspace(args.low, args.high, args.steps)
    moved = np.stack([along(latents, direction, alphas) for direction in directions], 1)
    flat = moved.reshape(-1, config.dimensions)
    pictures = decode(loaded.glow, unflatten_latents(config, flat), held.label, args.batch)
    rows = pictures.reshape(-1, args.steps, *config.image_shape)
    outputs.write_rows(args.out, rows, args.scale, args.seconds)
    rows_are = f"{len(rows)} rows, {' + '.join(args.names) if args.together else ', '.join(args.names)}"
    print(f"{', '.join(map(str, args.out))}: {rows_are} from {args.low:g} to {args.high:g}; {loaded.weights}")


def direction_of(held: Attributes, text: str, path: Path) -> np.ndarray:
    """The direction, float32 [D], that NAME or NAME=F means.

    Raises:
      CommandError: there is no such attribute.
    """
    name, sign, factor = text.rpartition("=")
    try:
        if sign and text not in held.names:
            return held.direction(name) * np.float32(number()(factor))
        return held.direction(text)
    except argparse.ArgumentTypeError as error:
        raise CommandError(f"--names {text}: {error}") from None
    except ValueError as error:
        raise CommandError(f"--names {text}: {path}: {error}") from None
