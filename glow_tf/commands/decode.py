"""decode: an .npz of latents -> one PNG for each.

The files are named after the images that were encoded.

    python -m glow_tf decode runs/digits latents.npz --out decoded
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from glow_tf.commands import outputs
from glow_tf.commands.arguments import CommandError, add_batch, add_model, check_out_folder, whole_number
from glow_tf.commands.contexts import refuse_contexts

HELP = "an .npz of latents -> PNGs"
_LONGEST = 100  # characters of a file name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    parser.add_argument("latents", type=Path, metavar="LATENTS", help="what `encode` wrote")
    parser.add_argument("--out", type=Path, default=Path("decoded"), help="folder of the PNGs (default decoded)")
    parser.add_argument("--scale", type=whole_number(1, 64), default=1, help="enlarge every pixel (default 1)")
    add_batch(parser)


def check(args: argparse.Namespace) -> None:
    """See the module."""
    refuse_contexts(args.location, "decode")
    if args.location.config.channels not in (1, 3):
        raise CommandError(f"PNGs have 1 or 3 channels; {args.model} is for {args.location.config.channels}")
    if not args.latents.is_file():
        raise CommandError(f"{args.latents}: there is no such file")
    outputs.check_pixels(1, args.location.config.height, args.location.config.image_width, args.scale)
    check_out_folder(args.out)


def run(args: argparse.Namespace) -> None:
    """Decodes batch by batch, each image into its file."""
    from data_loaders.progress import Progress
    from glow_tf.commands.batches import decode_batch, in_batches
    from glow_tf.commands.models import open_model, warn_of_another
    from glow_tf.latents.files import read_latents

    held = read_latents(args.latents, args.location.config.dimensions)
    loaded = open_model(args.location, args.weights)
    warn_of_another(loaded.glow, held.model, args.latents)
    args.out.mkdir(parents=True, exist_ok=True)
    names = iter(file_names(held.names))
    with Progress("decoding", len(held.latents)) as progress:
        for latents in in_batches(held.latents, args.batch):
            for image in decode_batch(loaded.glow, latents, held.label):
                outputs.write_raster(args.out / f"{next(names)}.png", image[None], 1, args.scale)
            progress.update(len(latents))
    print(f"{args.out}: {len(held.latents)} images; {loaded.weights}")


def file_names(names: Sequence[str]) -> list[str]:
    """Different names for files, without folders or endings: made of the last parts of any `names`."""
    taken: set[str] = set()
    result = []
    for name in names:
        last = re.split(r"[/\\]", name)[-1]
        stem = re.sub(r"[^\w.-]", "_", re.sub(r"\.(png|jpe?g)$", "", last, flags=re.IGNORECASE))[:_LONGEST]
        stem = stem.lstrip(".-") or "image"
        free, number = stem, 2
        while free.lower() in taken:  # lower: there are disks that do not tell A from a
            free, number = f"{stem}-{number}", number + 1
        taken.add(free.lower())
        result.append(free)
    return result
