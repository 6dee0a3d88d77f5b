"""import-openai: OpenAI's TF1 checkpoint -> a saved model.

The configuration is a JSON object with the fields of GlowConfig, names and defaults of OpenAI's flags.

    python -m glow_tf import-openai logs/model_best_loss.ckpt --config config.json --out models/celeba
"""

from __future__ import annotations

import argparse
from pathlib import Path

from glow_tf.commands.arguments import CommandError, check_out_folder
from glow_tf.config import GlowConfig

HELP = "OpenAI's TF1 checkpoint -> a saved model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    parser.add_argument("prefix", type=Path, metavar="PREFIX", help="path of the checkpoint, without .index")
    parser.add_argument("--config", type=Path, required=True, help="JSON file with the fields of GlowConfig")
    parser.add_argument("--out", type=Path, required=True, help="folder of the saved model")
    parser.add_argument("--average", action="store_true", help="take the Polyak averages that the checkpoint holds")


def check(args: argparse.Namespace) -> None:
    """Settles the configuration."""
    if args.prefix.suffix == ".index":
        args.prefix = args.prefix.with_suffix("")
    if not Path(f"{args.prefix}.index").is_file():
        raise CommandError(f"{args.prefix}: no checkpoint here (there is no {args.prefix}.index)")
    args.settings = GlowConfig.from_json(args.config)
    held = [name for name in ("config.json", "weights.npz") if (args.out / name).exists()]
    if held:
        raise CommandError(f"--out {args.out} has a {held[0]} already; name another folder")
    check_out_folder(args.out)


def run(args: argparse.Namespace) -> None:
    """Converts, and says what came of it."""
    from glow_tf.storage.models import save
    from glow_tf.storage.openai import load_openai_checkpoint

    glow = load_openai_checkpoint(args.prefix, args.settings, average=args.average)
    save(glow, args.out)
    weights = sum(variable.shape.num_elements() for variable in glow.trainable_variables)
    which = "Polyak averages" if args.average else "raw weights"
    print(f"{args.out}: {weights:,} weights, {which} of {args.prefix}")
