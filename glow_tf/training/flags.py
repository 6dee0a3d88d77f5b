"""The flags of train.py: those of OpenAI's code, with their names and defaults, and ours. No TensorFlow here."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import data_loaders
from glow_tf.config import ConfigError, GlowConfig
from glow_tf.runtime import launched_by_horovod
from glow_tf.training.config import OPENAI, TrainConfig, TrainError
from glow_tf.training.logdir import check_free
from glow_tf.training.presets import PRESETS, preset

# Image sizes where --image_size is not given: those of OpenAI's code, and the digits'.
IMAGE_SIZES = {
    "digits": 8, "mnist": 32, "cifar10": 32, "imagenet-oord": 64, "imagenet": 256, "celeba": 256,
    "lsun_realnvp": 64, "lsun": 256,
}  # fmt: skip

_MODEL_DEFAULTS = {f.name: f.default for f in dataclasses.fields(GlowConfig)}


def _about_presets() -> str:
    lines = [f"  {name:24}{run.about}; {run.workers} processes" for name, run in PRESETS.items()]
    return "\n".join(["presets, with the number of processes that the paper ran them with:", *lines])


class _Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def make_parser() -> argparse.ArgumentParser:
    """The parser; flags that were not given stay out of its result."""
    parser = _Parser(
        prog="train.py",
        description="Trains Glow. Under horovodrun or mpirun, one process per GPU.",
        epilog=_about_presets(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    text = "settings of one of the paper's runs, where no other flag sets them; see the end"
    parser.add_argument("--preset", metavar="NAME", help=text)
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(TrainConfig):
        about = field.metadata
        if "help" not in about:
            continue
        group = groups.setdefault(about["group"], None) or parser.add_argument_group(about["group"])
        groups[about["group"]] = group
        if field.type == "bool":
            group.add_argument(f"--{field.name}", action="store_true", help=about["help"])
            continue
        kind, metavar = _KINDS.get(str(field.type), (str, "TEXT"))
        choices = about.get("choices")
        default = "" if field.default in (None, "") or about["group"] == OPENAI else f" (default {field.default})"
        group.add_argument(
            f"--{field.name}",
            type=kind,
            choices=choices,
            help=about["help"] + default,
            metavar=None if choices else metavar,
        )
    model = parser.add_argument_group("model")
    model.add_argument("--image_size", type=int, help="image size (default: the problem's own)")
    for name, text in (
        ("n_levels", "levels"),
        ("depth", "flow steps per level"),
        ("width", "hidden channels of the coupling networks"),
        ("n_bits_x", "bits per subpixel"),
    ):
        text += f" (default {_MODEL_DEFAULTS[name]})"
        model.add_argument(f"--{name}", type=int, help=text)
    model.add_argument("--weight_y", type=float, help="weight of log p(y|x) in the loss (default 0)")
    model.add_argument("--learntop", action="store_true", help="learn the top prior")
    model.add_argument("--ycond", action="store_true", help="condition the top prior on the class")
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


def parse(argv: list[str] | None = None) -> tuple[dict[str, Any], TrainConfig]:
    """The model's fields (image_size -1: the problem's own) and the training configuration.

    Exits with one line on stderr and code 2 where the flags are wrong.
    """
    parser = make_parser()
    given = vars(parser.parse_args(argv))
    name = given.pop("preset", None)
    try:
        settings = {**_preset_settings(name, given), **given}
        model = {name: value for name, value in settings.items() if name in _MODEL_DEFAULTS}
        model.setdefault("image_size", -1)
        config = TrainConfig(**{n: v for n, v in settings.items() if n not in _MODEL_DEFAULTS})
        _check_together(config, given)
        if config.memory is None and "gradient_checkpointing" in settings:
            config = dataclasses.replace(config, memory=("store", "checkpoint")[config.gradient_checkpointing])
        if model["image_size"] == -1:
            model["image_size"] = IMAGE_SIZES.get(config.problem, -1)
        # An unknown size is checked once the data says it; 2^n_levels always fits.
        size = model["image_size"] if model["image_size"] != -1 else 2 ** model.get("n_levels", 3)
        GlowConfig.from_dict({**model, "image_size": size})
        if not launched_by_horovod():  # there, rank 0 may have taken the folder for this very run
            check_free(Path(config.logdir), resume=config.resume)
    except (ConfigError, TrainError, data_loaders.DataError) as error:
        parser.error(str(error))
    return model, config


def _preset_settings(name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """What a preset sets, except for memory where the user gives --memory."""
    if name is None:
        return {}
    chosen = preset(name)
    settings = {**chosen.model, **chosen.train}
    if "problem" not in {**settings, **given}:
        raise TrainError(f"--preset {name} sets the model and its training, not the data: give --problem too")
    if "memory" in given:
        settings.pop("gradient_checkpointing", None)
    return settings


def _check_together(config: TrainConfig, given: dict[str, Any]) -> None:
    """Raises TrainError (DataError) for flags that contradict each other or what is on the disk."""
    data_loaders.check_problem(config.problem)
    explicit = given.get("gradient_checkpointing")
    if config.memory is not None and explicit is not None:
        if explicit == int(config.memory == "store"):
            raise TrainError(
                f"--gradient_checkpointing {explicit} contradicts --memory {config.memory}; give one of them"
            )
    if config.image_dir and config.problem != "folder":
        raise TrainError(f"--image_dir needs --problem folder, not {config.problem}")
    if config.problem == "folder" and not (config.image_dir or config.data_dir):
        raise TrainError("--problem folder needs --image_dir, a folder of images")
    if config.image_dir and config.data_dir:
        raise TrainError("--image_dir and --data_dir both say where the images are; give one of them")
    if config.dry_run and config.resume:
        raise TrainError("--dry_run starts a new run and --resume resumes one; give one of them")
    for name in ("data_dir", "image_dir"):
        folder = getattr(config, name)
        if folder and not Path(folder).is_dir():
            raise TrainError(f"--{name} {folder}: there is no such folder")
