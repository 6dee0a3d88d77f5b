"""interpolate: a path from one image to the next, through the latents.

With more than two images it goes from each to the next. A .png shows it as a strip, a row for every pair; a .gif shows
it as an animation. The path is straight, as in OpenAI's demo; --spherical keeps the latents at a typical length.

    python -m glow_tf interpolate runs/digits test:0 test:1 --out interpolation.png interpolation.gif
"""

from __future__ import annotations

import argparse

from glow_tf.commands import outputs
from glow_tf.commands.arguments import (
    STRIP,
    CommandError,
    add_batch,
    add_label,
    add_model,
    add_scale,
    add_strip,
    whole_number,
)
from glow_tf.commands.contexts import refuse_contexts
from glow_tf.commands.image_arguments import add_images, check_pictures, expand, label_of, read_all

HELP = "a strip or GIF from one image to another"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    add_images(parser)
    add_strip(parser, "interpolation")
    parser.add_argument(
        "--frames", type=whole_number(2, 1000), default=9, help="images from one to the next, both counted (default 9)"
    )
    parser.add_argument("--spherical", action="store_true", help="go along the great circle")
    add_label(parser)
    add_scale(parser)
    add_batch(parser)


def check(args: argparse.Namespace) -> None:
    """Settles places, label and scale."""
    check_pictures(args, STRIP)
    refuse_contexts(args.location, "interpolate")
    args.label = label_of(args)


def run(args: argparse.Namespace) -> None:
    """Encodes the images, decodes the path, and writes it."""
    import numpy as np

    from glow_tf.commands.batches import decode, encode
    from glow_tf.commands.models import open_model
    from glow_tf.latents.flatten import unflatten_latents
    from glow_tf.latents.interpolation import path_through

    config = args.location.config
    places = expand(args)
    if len(places) < 2:
        raise CommandError("interpolate: at least 2 images are needed")
    outputs.check_pixels((len(places) - 1) * args.frames, config.height, config.image_width, args.scale)
    images = read_all(args, places)
    loaded = open_model(args.location, args.weights)
    stations = encode(loaded.glow, images, args.label, args.batch)
    path = path_through(stations, args.frames, spherical=args.spherical)
    pictures = decode(loaded.glow, unflatten_latents(config, path), args.label, args.batch)
    step = args.frames - 1
    rows = np.stack([pictures[i : i + args.frames] for i in range(0, len(pictures) - 1, step)])
    outputs.write_rows(args.out, rows, args.scale, args.seconds, frames=pictures)
    way = "spherical" if args.spherical else "linear"
    print(f"{', '.join(map(str, args.out))}: {len(path)} images, {way}; {loaded.weights}")
