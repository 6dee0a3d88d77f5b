"""reconstruct: images, and below them what comes back from their latents.

They are equal in every pixel where the model has 8 bits; with fewer, the reconstruction has the lower bits cut off.

    python -m glow_tf reconstruct runs/digits test:0-7 --out reconstructions.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from glow_tf.commands import outputs
from glow_tf.commands.arguments import add_batch, add_label, add_model, add_scale, whole_number
from glow_tf.commands.contexts import check_made_of_images
from glow_tf.commands.image_arguments import add_images, check_pictures, expand, label_of, read_all

HELP = "images and what comes back from their latents"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    add_images(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("reconstructions.png"), help="the picture (default reconstructions.png)"
    )
    parser.add_argument("--columns", type=whole_number(1), default=8, help="images in a row (default 8)")
    add_label(parser)
    add_scale(parser)
    add_batch(parser)


def check(args: argparse.Namespace) -> None:
    """Settles places, label and scale."""
    check_pictures(args, [".png"])
    check_made_of_images(args.location)
    args.label = label_of(args)


def run(args: argparse.Namespace) -> None:
    """Draws them, and counts how many came back exactly."""
    import numpy as np

    from glow_tf.commands.batches import decode, encode
    from glow_tf.commands.models import open_model
    from glow_tf.latents.flatten import unflatten_latents

    config = args.location.config
    places = expand(args)
    columns = min(args.columns, len(places))
    outputs.check_pixels(2 * (len(places) + columns), config.height, config.image_width, args.scale)
    images = read_all(args, places)
    loaded = open_model(args.location, args.weights)
    latents = encode(loaded.glow, images, args.label, args.batch)
    context = loaded.glow.context_for(images, None)
    back = decode(loaded.glow, unflatten_latents(config, latents), args.label, args.batch, context=context)
    filled = [np.concatenate([x, np.zeros([-len(x) % columns, *x.shape[1:]], np.uint8)]) for x in (images, back)]
    rows = np.stack([x.reshape(-1, columns, *x.shape[1:]) for x in filled], 1)
    outputs.write_raster(args.out, rows.reshape(-1, *config.image_shape), columns, args.scale)
    kept = images >> (8 - config.n_bits_x) << (8 - config.n_bits_x)
    wrong = (back != kept).any((1, 2, 3))
    worst = np.abs(back.astype(int) - kept).max()
    line = f"{args.out}: {len(images) - wrong.sum()} of {len(images)} images came back exactly"
    if config.n_bits_x < 8:
        line += f" in their upper {config.n_bits_x} bits"
    print(line + (f", the others within {worst} grey levels" if wrong.any() else "") + f"; {loaded.weights}")
