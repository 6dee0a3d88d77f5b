"""encode: images -> their latents, an .npz file.

It holds `latents` float32 [N, H*W*C] (fine to coarse, standard normal under the model), `names` of the images, `label`
and `model`, the fingerprint of the model that can decode them.

    python -m glow_tf encode runs/digits test:0-7 --out latents.npz
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from glow_tf.commands.arguments import add_batch, add_label, add_model, check_out
from glow_tf.commands.contexts import check_made_of_images
from glow_tf.commands.image_arguments import add_images, check_images, expand, label_of, read_batches

HELP = "images -> an .npz of their latents"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    add_images(parser)
    parser.add_argument("--out", type=Path, default=Path("latents.npz"), help="(default latents.npz)")
    add_label(parser)
    add_batch(parser)


def check(args: argparse.Namespace) -> None:
    """Settles places and label."""
    check_images(args, args.location)
    check_made_of_images(args.location)
    args.label = label_of(args)
    check_out(args.out, [".npz"])


def run(args: argparse.Namespace) -> None:
    """Encodes batch by batch, into the file."""
    from data_loaders.progress import Progress
    from data_loaders.text import printable
    from glow_tf.commands.batches import encode_batch
    from glow_tf.commands.models import open_model
    from glow_tf.latents.files import write_latents

    places = expand(args)
    loaded = open_model(args.location, args.weights)

    def batches() -> Iterator[np.ndarray]:
        with Progress("encoding", len(places)) as progress:
            for images in read_batches(args, places, args.batch):
                yield encode_batch(loaded.glow, images, args.label)
                progress.update(len(images))

    names = [printable(place.name) for place in places]
    dimensions = args.location.config.dimensions
    write_latents(args.out, batches(), names, dimensions, args.label, loaded.glow.fingerprint())
    print(f"{args.out}: latents of {len(places)} images, {dimensions} numbers each; {loaded.weights}")
