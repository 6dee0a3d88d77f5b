"""export: a SavedModel, which runs wherever TensorFlow does, without this project.

It is written to OUT/1, or the next free number, as TensorFlow Serving expects. Its signatures are bits_per_dim,
log_prob, encode, decode and sample; `saved_model_cli show --dir OUT/1 --all` lists what they take and return.

    python -m glow_tf export runs/digits exports/digits
"""

from __future__ import annotations

import argparse
from pathlib import Path

from glow_tf.commands.arguments import CommandError, add_model, check_out_folder
from glow_tf.commands.folders import find_model

HELP = "a SavedModel that needs TensorFlow only"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the versions; made if it is not there")


def check(args: argparse.Namespace) -> None:
    """See the module."""
    args.location = find_model(args.model)
    if args.location.version is not None:
        raise CommandError(f"{args.model} is an export already")
    check_out_folder(args.out, "OUT")


def run(args: argparse.Namespace) -> None:
    """Loads the model, and writes it."""
    from glow_tf.commands.models import open_model
    from glow_tf.model import Glow
    from glow_tf.serving.export import check_export_folder, export_saved_model

    check_export_folder(args.out)
    loaded = open_model(args.location, args.weights)
    assert isinstance(loaded.glow, Glow)  # check() has refused exports
    written = export_saved_model(loaded.glow, args.out, weights=loaded.weights)
    size = sum(path.stat().st_size for path in written.rglob("*") if path.is_file())
    print(f"{written}: {size / 1e6:.1f} MB; {loaded.weights}")
