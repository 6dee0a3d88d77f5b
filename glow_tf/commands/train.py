"""`train`, which is train.py too: the flags of OpenAI's train.py, with their names and defaults, and ours.

TensorFlow is imported after the flags were checked.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import data_loaders
from data_loaders.tensorflow_import import import_tensorflow
from glow_tf.commands.arguments import Parser, version
from glow_tf.config import CONTEXTS, ConfigError, GlowConfig
from glow_tf.runtime import keep_freed_memory, launched_by_horovod, prepare_gpus
from glow_tf.training.config import OPENAI, TrainConfig, TrainError
from glow_tf.training.logdir import check_claim, read_config, read_config_file, read_run
from glow_tf.training.presets import PRESETS, preset

HELP = "train a model"
# Data sets: image size where --image_size is not given (-1: that of the data), and what they are.
_PROBLEMS = {
    "digits": (8, "1,797 grayscale digits, part of this package"),
    "mnist": (32, "70,000 grayscale digits, downloaded (11 MB)"),
    "cifar10": (32, "60,000 images of 10 classes, downloaded (170 MB)"),
    "folder": (-1, "your own images in --image_dir, also CelebA as published"),
    "tfds": (-1, "tfds:NAME[:VERSION], a data set that tensorflow_datasets has prepared"),
    "imagenet-oord": (64, "ImageNet in 32 or 64 pixels; TFRecords in --data_dir"),
    "imagenet": (256, "ImageNet; TFRecords in --data_dir"),
    "celeba": (256, "CelebA-HQ; TFRecords in --data_dir"),
    "lsun_realnvp": (64, "LSUN, one --category; TFRecords in --data_dir"),
    "lsun": (256, "LSUN, one --category; TFRecords in --data_dir"),
}
_OTHER = (-1, "")  # registered by others
_SIZED_BY_DATA = ("folder", "mnist", "tfds")  # where n_train is the size of the data, if it is not given
_MODEL = {f.name: f.default for f in dataclasses.fields(GlowConfig)}
_ELSEWHERE = {"logdir", "resume", "dry_run", "inference"}  # what concerns the run of a config.json only


def main(argv: list[str] | None = None, prog: str = "train.py") -> int:
    """Returns the exit code: 0, 1 after an error, 130 after Ctrl-C, 143 after SIGTERM."""
    try:
        model, config = parse(argv, prog)
        keep_freed_memory()
        import_tensorflow()
        prepare_gpus(tf32=config.precision == "tf32")
        from glow_tf.training import infer, train

        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"{prog}: warning: {message}", file=sys.stderr)
            if config.inference:
                infer(model, config)
                return 0
            return train(model, config).exit_code
    except KeyboardInterrupt:
        print(f"{prog}: stopped", file=sys.stderr)
        return 130
    except ValueError as error:
        if not type(error).__module__.startswith(("glow_tf", "data_loaders")):
            raise  # not one of ours: a fault in the program, with its traceback
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 1


def make_parser(prog: str = "train.py") -> argparse.ArgumentParser:
    """The parser; flags that were not given stay out of its result."""
    problems = [f"  {name:24}{_PROBLEMS.get(name, _OTHER)[1]}".rstrip() for name in data_loaders.problems()]
    presets = [f"  {name:24}{run.about}; {run.workers} processes" for name, run in PRESETS.items()]
    title = "presets, with the number of processes that the paper ran them with:"
    parser = Parser(
        prog=prog,
        usage="%(prog)s [flags]",
        description="Trains Glow. Under horovodrun or mpirun, one process per GPU.",
        epilog="\n".join(["data sets:", *problems, "", title, *presets]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=True,  # OpenAI's README abbreviates --n_levels
    )
    parser.program = prog
    parser.add_argument("--version", action="version", version=version())
    text = "settings of one of the paper's runs, where no other flag sets them; see the end"
    parser.add_argument("--preset", metavar="NAME", help=text)
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings of another run: its config.json")
    parser.add_argument("--print_config", action="store_true", help="print the settings as such a file, and end")
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(TrainConfig):
        about = field.metadata
        if "help" not in about:
            continue
        if about["group"] not in groups:
            groups[about["group"]] = parser.add_argument_group(about["group"])
        options: dict[str, Any] = {"action": "store_true"}
        if field.type != "bool":
            kind, metavar = _KINDS.get(str(field.type), (str, "TEXT"))
            choices = about.get("choices")
            options = {"type": kind, "choices": choices, "metavar": None if choices else metavar}
        shown = field.default not in (None, "", False) and about["group"] != OPENAI
        text = about["help"] + (f" (default {field.default})" if shown else "")
        groups[about["group"]].add_argument(f"--{field.name}", help=text, **options)
    model = parser.add_argument_group("model")
    model.add_argument("--image_size", type=int, metavar="N", help="image size (default: the data set's own)")
    for name, text in (
        ("n_levels", "levels"),
        ("depth", "flow steps per level"),
        ("width", "hidden channels of the coupling networks"),
        ("n_bits_x", "bits per subpixel"),
    ):
        model.add_argument(f"--{name}", type=int, metavar="N", help=f"{text} (default {_MODEL[name]})")
    model.add_argument("--weight_y", type=float, metavar="X", help="weight of log p(y|x) in the loss (default 0)")
    model.add_argument("--learntop", action="store_true", help="learn the top prior")
    model.add_argument("--ycond", action="store_true", help="condition the top prior on the class")
    text = (
        f"what the model is given besides the noise: {', '.join(CONTEXTS)}; made of the images, so the model learns to"
        " colour, enlarge or complete them (default none)"
    )
    model.add_argument("--context", metavar="KIND", help=text)
    text = "0 or reverse, 1 or shuffle, 2 or invconv (default 2)"
    model.add_argument("--flow_permutation", type=_number_or_name, metavar="KIND", help=text)
    text = "0 or additive, 1 or affine (default 0)"
    model.add_argument("--flow_coupling", type=_number_or_name, metavar="KIND", help=text)
    text = "store the 1x1 convolutions as their LU factors"
    model.add_argument("--lu_decomposed", action="store_true", help=text)
    return parser


def _number(text: str) -> float:
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdigit() else text


_KINDS: dict[str, tuple[Callable[[str], Any], str]] = {"int": (int, "N"), "float": (_number, "X")}


def parse(argv: list[str] | None = None, prog: str = "train.py") -> tuple[dict[str, Any], TrainConfig]:
    """The model's fields (image_size -1: the data set's own) and the training configuration.

    Exits with one line on stderr and code 2 where the flags are wrong, and with 0 after --print_config.
    """
    parser = make_parser(prog)
    given = vars(parser.parse_args(argv))
    shown = given.pop("print_config", False)
    try:
        model, config = _resolve(given)
    except (ConfigError, TrainError, data_loaders.DataError) as error:
        parser.error(str(error))
    if shown:
        try:
            print(json.dumps({"model": model, "train": config.to_dict()}, indent=1), flush=True)
        except BrokenPipeError:  # whoever read it, such as head, has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        parser.exit()
    return model, config


def _resolve(given: dict[str, Any]) -> tuple[dict[str, Any], TrainConfig]:
    """The settings that the flags, a preset, and a file or the run to resume give; raises where they contradict."""
    name, file = given.pop("preset", None), given.pop("config", None)
    train = {field.name: given.get(field.name, field.default) for field in dataclasses.fields(TrainConfig)}
    base: dict[str, Any] = {}
    run = read_run(Path(train["logdir"])) if train["resume"] else None
    if file is not None and train["resume"]:
        raise TrainError("--config starts a new run and --resume resumes one; give one of them")
    if file is not None:
        base = _settings(read_config_file(file))
    elif run is not None:
        base = _settings(run)
    elif train["inference"]:
        base = _settings(read_config(Path(train["restore_path"])) or {})
    named = {**_of_preset(name, {**base, **given}, given), **given}
    settings = {**base, **named}
    if "gradient_checkpointing" in named and "memory" not in given:
        settings["memory"] = ("store", "checkpoint")[named["gradient_checkpointing"]]
    if str(settings.get("problem")).partition(":")[0] in _SIZED_BY_DATA:
        settings.setdefault("n_train", -1)
    model = {field: settings.pop(field) for field in _MODEL if field in settings}
    config = TrainConfig.from_dict(settings)
    _check_together(config, given)
    size = model.get("image_size", -1)
    if size == -1:
        size = _PROBLEMS.get(config.problem, _OTHER)[0]
    # An unknown size is checked once the data says it; 2^n_levels, times N where a context is N times as small, fits.
    factor = str(model.get("context", "")).partition(":")[2]
    fits = 2 ** model.get("n_levels", 3) * (int(factor) if factor.isdecimal() and len(factor) < 4 else 1)
    checked = GlowConfig.from_dict({**model, "image_size": fits if size == -1 else size})
    model = {**checked.to_dict(), "image_size": size}
    if not launched_by_horovod() and not config.inference:  # of several ranks, one may have claimed the folder already
        check_claim(Path(config.logdir), {"model": model, "train": config.to_dict()}, resume=config.resume)
    return model, config


def _settings(run: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config.json that another run can have too."""
    settings = {**run.get("model", {}), **run.get("train", {})}
    return {name: value for name, value in settings.items() if name not in _ELSEWHERE}


def _of_preset(name: str | None, others: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a preset sets, except for memory where the user gives --memory."""
    if name is None:
        return {}
    chosen = preset(name)
    settings = {**chosen.model, **chosen.train}
    if "problem" not in {**settings, **others}:
        raise TrainError(f"--preset {name} sets the model and its training, not the data: give --problem too")
    if "memory" in given:
        settings.pop("gradient_checkpointing", None)
    return settings


def _check_together(config: TrainConfig, given: Mapping[str, Any]) -> None:
    """Raises TrainError (DataError) for flags that contradict each other or what is on the disk."""
    data_loaders.check_problem(config.problem)
    explicit, memory = given.get("gradient_checkpointing"), given.get("memory")
    if memory is not None and explicit == int(memory == "store"):
        raise TrainError(f"--gradient_checkpointing {explicit} contradicts --memory {memory}; give one of them")
    if config.image_dir and config.problem != "folder":
        raise TrainError(f"--image_dir needs --problem folder, not {config.problem}")
    if config.problem == "folder" and not (config.image_dir or config.data_dir):
        raise TrainError("--problem folder needs --image_dir, a folder of images")
    if config.image_dir and config.data_dir:
        raise TrainError("--image_dir and --data_dir both say where the images are; give one of them")
    if config.dry_run and config.resume:
        raise TrainError("--dry_run starts a new run and --resume resumes one; give one of them")
    if config.inference and not config.restore_path:
        raise TrainError("--inference needs --restore_path, the weights to encode with")
    for name in ("data_dir", "image_dir"):
        folder = getattr(config, name)
        if folder and not Path(folder).is_dir():
            raise TrainError(f"--{name} {folder}: there is no such folder")
