"""The command line of the experiments: arguments, checks before any training, and the order of the work."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import data_loaders
from data_loaders.tensorflow_import import import_tensorflow
from glow_tf import experiments
from glow_tf.commands.arguments import Parser, check_out_folder, whole_number
from glow_tf.experiments.study import SCALES, ExperimentError, Stopped, Study
from glow_tf.runtime import keep_freed_memory, prepare_gpus
from glow_tf.training.config import PRECISIONS

_PROGRAM = "python -m glow_tf.experiments"


def make_parser() -> argparse.ArgumentParser:
    """The parser; its help lists the experiments."""
    about = "\n".join(f"  {name:21}{experiments.find(name).ABOUT}" for name in experiments.NAMES)
    parser = Parser(
        prog=_PROGRAM,
        description="Reproduces a figure of the paper: trains, then writes results.json, curves.csv and one PNG.",
        epilog=f"experiments:\n{about}\n\nA stopped experiment resumes with the same command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=("list", *experiments.NAMES), metavar="NAME", help="an experiment, or list")
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="tiny",
        help="tiny: the digits that come with the project, 2 minutes on 2 cores (default); small: at most 3 hours on"
        " 2 cores; paper: OpenAI's setting, under horovodrun",
    )
    parser.add_argument("--out", type=Path, help="folder of everything that is written")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data_dir", type=Path, help="where the experiment's data set is (default: as train.py)")
    data.add_argument("--image_dir", type=Path, help="a folder of images, which takes the place of the data set")
    parser.add_argument("--model", type=Path, help="a trained run, in place of training one, where one model is enough")
    parser.add_argument("--preset", help="of `likelihood` at paper scale (default cifar10); see train.py --help")
    parser.add_argument(
        "--ends",
        choices=("images", "samples"),
        default="images",
        help="what `interpolation` and `attributes` start from: test images, as the paper (default), or samples",
    )
    parser.add_argument("--epochs", type=whole_number(1), help="of every training (default: the experiment's)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the coupling networks")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one experiment.

    Returns:
      0; 2 after an error, which is one line on stderr; 130 or 143 where a signal stopped it.
    """
    args = make_parser().parse_args(argv)
    if args.name == "list":
        for name in experiments.NAMES:
            print(f"{name:21}{experiments.find(name).SOURCE}: {experiments.find(name).ABOUT}")
        return 0
    try:
        _check(args)
        keep_freed_memory()
        import_tensorflow()
        prepare_gpus(tf32=args.precision == "tf32")
        with data_loaders.as_data_errors():
            study = Study.begin(args)
            study.train()
            study.conclude()
    except Stopped as stopped:
        print(f"{_PROGRAM}: stopped; the same command resumes", file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: stopped; the same command resumes", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"{_PROGRAM}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises ExperimentError for what cannot work, before TensorFlow is imported."""
    module = experiments.find(args.name)
    if args.out is None:
        raise ExperimentError("--out is missing: the folder to write to")
    check_out_folder(args.out)
    for flag in ("data_dir", "image_dir", "model"):
        path = getattr(args, flag)
        if path is not None and not path.is_dir():
            raise ExperimentError(f"--{flag} {path}: there is no such folder")
    if args.model is not None and not module.ONE_MODEL:
        raise ExperimentError(f"--model: {args.name} compares several trainings, or none; leave --model out")
    if args.preset is not None and (args.name, args.scale) != ("likelihood", "paper"):
        raise ExperimentError("--preset is for `likelihood --scale paper`")
    if importlib.util.find_spec("matplotlib") is None:
        raise ExperimentError("matplotlib is needed for the picture: pip install 'glow_tf[experiments]'")
