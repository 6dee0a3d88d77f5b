"""sample: a picture of images that the model makes up.

Several temperatures give one row each, of the same latents; otherwise the images form a square. Without --label, the
columns of a class-conditional model's picture are its classes, in turn.

    python -m glow_tf sample runs/digits --temperature 0.7 --out samples.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from glow_tf.commands import outputs
from glow_tf.commands.arguments import (
    MAX_SEED,
    CommandError,
    add_batch,
    add_model,
    add_scale,
    check_out,
    number,
    whole_number,
)
from glow_tf.commands.folders import find_model

HELP = "a picture of images that the model makes up"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    parser.add_argument("--n", type=whole_number(1), help="images of each temperature (default 16; 8 of several)")
    parser.add_argument(
        "--temperature", type=number(0), nargs="+", default=[0.7], metavar="T", help="one or several (default 0.7)"
    )
    parser.add_argument("--label", type=whole_number(0), nargs="+", metavar="Y", help="classes, in turn")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0, help="of the latents (default 0)")
    parser.add_argument("--out", type=Path, default=Path("samples.png"), help="the picture, .png (default samples.png)")
    parser.add_argument("--columns", type=whole_number(1), help="images in a row (default: a square)")
    add_scale(parser)
    add_batch(parser)


def check(args: argparse.Namespace) -> None:
    """Settles n, columns and scale."""
    args.found = find_model(args.model)
    config, several = args.found.config, len(args.temperature) > 1
    if several and args.columns is not None:
        raise CommandError("--columns is for one temperature; several have a row of --n images each")
    if args.label is not None:
        if not config.ycond:
            raise CommandError(f"--label: {args.model} is not class-conditional")
        if max(args.label) >= config.n_y:
            raise CommandError(f"--label {max(args.label)}: {args.model} has the classes 0 to {config.n_y - 1}")
    args.n = args.n or (8 if several else 16)
    args.columns = args.n if several else args.columns or math.ceil(math.sqrt(args.n))
    args.scale = outputs.scale_for(args.scale, config.height, config.image_width)
    outputs.check_pixels(args.n * len(args.temperature), config.height, config.image_width, args.scale)
    check_out(args.out, [".png"])


def run(args: argparse.Namespace) -> None:
    """Draws and writes them."""
    import numpy as np

    from glow_tf.commands.batches import decode
    from glow_tf.commands.models import open_model

    opened = open_model(args.found, args.weights)
    config = opened.glow.config
    latents = [np.asarray(latent) for latent in opened.glow.sample_latents(args.n, 1.0, args.seed)]
    rows = [[temperature * latent for latent in latents] for temperature in args.temperature]
    eps = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    labels = np.arange(args.columns) % config.n_y if args.label is None else np.asarray(args.label)
    y = np.resize(np.resize(labels, args.columns), args.n)
    images = decode(opened.glow, eps, np.tile(y, len(rows)), args.batch, "sampling")
    outputs.write_raster(args.out, images, args.columns, args.scale)
    temperatures = ", ".join(f"{t:g}" for t in args.temperature)
    rows_are = "rows of temperature" if len(rows) > 1 else "temperature"
    print(f"{args.out}: {len(images)} samples, {rows_are} {temperatures}, seed {args.seed}; {opened.weights}")
