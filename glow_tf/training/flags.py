"""The flags of train.py: the original's, with their names and defaults, and ours. No TensorFlow here."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import data_loaders
from glow_tf.config import ConfigError, GlowConfig
from glow_tf.training import config as training
from glow_tf.training.config import TrainConfig, TrainError
from glow_tf.training.launch import launched_by_horovod
from glow_tf.training.presets import PRESETS, preset
from glow_tf.training.run_folder import check_free

# Image sizes where --image_size is not given: the original's, and the digits'.
IMAGE_SIZES = {
    "digits": 8, "mnist": 32, "cifar10": 32, "imagenet-oord": 64, "imagenet": 256, "celeba": 256,
    "lsun_realnvp": 64, "lsun": 256,
}  # fmt: skip

_HELP = {
    "verbose": "print a line for every step",
    "restore_path": "start from these weights: a run's folder, a checkpoint, model/, or a TF1 checkpoint's prefix",
    "logdir": "folder for logs, checkpoints, samples and the model",
    "problem": "data set",
    "category": "LSUN category",
    "data_dir": "where the data is",
    "dal": "data augmentation level: 0 none, 1 standard, 2 extra",
    "fmap": "parallel file readers",
    "pmap": "parallel maps of the data pipeline",
    "n_train": "images in an epoch",
    "n_test": "test images to use; -1 all",
    "n_batch_train": "images per step and worker, at the anchor size",
    "n_batch_test": "images per test step and worker, at the anchor size",
    "n_batch_init": "images of the data-dependent initialisation, at the anchor size",
    "optimizer": "adam, adamax or adam2",
    "lr": "learning rate after warm-up",
    "beta1": "decay of the first moment",
    "polyak_epochs": "averaging time of Polyak average and second moment, in epochs",
    "weight_decay": "factor on the weights at each step; 1 is off",
    "epochs": "epochs to train",
    "epochs_warmup": "epochs of linear warm-up",
    "epochs_full_valid": "epochs between evaluations",
    "gradient_checkpointing": "the original's spelling: 1 is --memory checkpoint, 0 is --memory store",
    "anchor_size": "image size that the batch sizes are meant for",
    "n_sample": "no effect, as in the original",
    "epochs_full_sample": "epochs between sample grids",
    "seed": "random seed",
    "memory": "what is kept for the gradient: store, checkpoint or reversible (the default)",
    "precision": "of the coupling networks: float32 or bfloat16",
    "compression": "of gradients between workers: none or fp16",
    "polyak": "evaluate, sample and save model/ with the Polyak average",
    "resume": "go on with the run in --logdir",
    "image_dir": "folder of images, for --problem folder",
    "steps": "stop after so many steps; 0: after --epochs",
    "checkpoint_minutes": "longest time between checkpoints",
    "checkpoint_steps": "steps between checkpoints; 0: by time only",
    "commit_steps": "elastic Horovod: steps between commits, to which a job goes back when a worker is lost",
    "dry_run": "one step of everything, to see that the run would work",
    "skip_corrupt": "go on without damaged images, with a warning",
    "on_nan": "after a step that is not finite, or a convolution close to singular: stop, skip it, or rollback",
    "clip_grad_norm": "largest norm of the gradient; 0: any",
}
_CHOICES = {
    "optimizer": training.OPTIMIZERS,
    "memory": training.MEMORIES,
    "precision": training.PRECISIONS,
    "compression": training.COMPRESSIONS,
    "on_nan": training.ON_NAN,
    "dal": (0, 1, 2),
    "gradient_checkpointing": (0, 1),
}
_MODEL_DEFAULTS = {f.name: f.default for f in dataclasses.fields(GlowConfig)}


def _about_presets() -> str:
    lines = [f"  {name:24}{run.about}; {run.workers} processes" for name, run in PRESETS.items()]
    return "\n".join(
        ["presets, and with how many processes, each with a batch of its own, the paper ran them:", *lines]
    )


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
    text = "settings of one of the paper's runs, for what the other flags leave open; see the end"
    parser.add_argument("--preset", metavar="NAME", help=text)
    run = parser.add_argument_group("training")
    for field in dataclasses.fields(TrainConfig):
        if field.name not in _HELP:
            continue
        text = _HELP[field.name]
        if field.type == "bool":
            run.add_argument(f"--{field.name}", action="store_true", help=text)
            continue
        kind, metavar = _KINDS.get(str(field.type), (str, "TEXT"))
        shown = field.default not in (None, "") and field.name != "gradient_checkpointing"
        default = f" (default {field.default})" if shown else ""
        run.add_argument(
            f"--{field.name}", type=kind, choices=_CHOICES.get(field.name), help=text + default,
            metavar=None if field.name in _CHOICES else metavar,
        )  # fmt: skip
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
        if not launched_by_horovod():  # rank 0 may have claimed it for this very run
            check_free(Path(config.logdir), resume=config.resume)
    except (ConfigError, TrainError, data_loaders.DataError) as error:
        parser.error(str(error))
    return model, config


def _preset_settings(name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """What a preset sets; where the user says --memory it has no say in that."""
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
        raise TrainError("--dry_run starts anew and --resume goes on; give one of them")
    for name in ("data_dir", "image_dir"):
        folder = getattr(config, name)
        if folder and not Path(folder).is_dir():
            raise TrainError(f"--{name} {folder}: there is no such folder")
