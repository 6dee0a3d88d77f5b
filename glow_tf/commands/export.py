"""export: a trained model for others, which runs without this project.

--format saved_model (the default) writes a SavedModel to OUT/1, or the next free number, as TensorFlow Serving expects.
Its signatures are bits_per_dim, log_prob, encode, decode and sample; `saved_model_cli show --dir OUT/1 --all` lists
what they take and return. --format tflite writes one LiteRT file, OUT, with encode, decode and log_prob_given_noise.

    python -m glow_tf export runs/digits exports/digits
    python -m glow_tf export runs/digits digits.tflite --format tflite
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data_loaders.tensorflow_import import stderr_held_back
from glow_tf.commands.arguments import CommandError, add_model, check_out, check_out_folder

HELP = "a SavedModel or LiteRT file that runs without this project"
_SAVED_MODEL, _LITERT = "saved_model", "tflite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="folder of the versions, or the .tflite file; folders are made"
    )
    parser.add_argument("--format", choices=(_SAVED_MODEL, _LITERT), default=_SAVED_MODEL, help="(default saved_model)")
    parser.add_argument("--float16", action="store_true", help="tflite only: weights in float16, half the size")


def check(args: argparse.Namespace) -> None:
    """See the module."""
    if args.location.version is not None or args.location.model is not None:
        raise CommandError(f"{args.model} is an export already")
    if args.format == _LITERT:
        check_out(args.out, [".tflite"], "OUT")
        return
    if args.float16:
        raise CommandError("--float16 is for --format tflite; a SavedModel has the model's own precision")
    check_out_folder(args.out, "OUT")


def run(args: argparse.Namespace) -> None:
    """Loads the model, and writes it."""
    from glow_tf.commands.models import open_model
    from glow_tf.model import Glow
    from glow_tf.serving.export import check_export_folder, export_saved_model
    from glow_tf.serving.litert import export_litert

    if args.format == _SAVED_MODEL:
        check_export_folder(args.out)
    loaded = open_model(args.location, args.weights)
    assert isinstance(loaded.glow, Glow)  # check() has refused exports
    if args.format == _LITERT:
        with stderr_held_back():  # the converter's remarks on itself
            export_litert(loaded.glow, args.out, float16=args.float16)
        written, size = args.out, args.out.stat().st_size
    else:
        written = export_saved_model(loaded.glow, args.out, weights=loaded.weights)
        size = sum(path.stat().st_size for path in written.rglob("*") if path.is_file())
    print(f"{written}: {size / 1e6:.1f} MB; {loaded.weights}")
