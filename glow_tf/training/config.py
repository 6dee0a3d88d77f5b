"""How a model is trained: TrainConfig. What the model is: `glow_tf.config.GlowConfig`."""

from __future__ import annotations

import dataclasses
import math
import operator
import sys
from collections.abc import Mapping
from typing import Any

from glow_tf.config import ConfigError, GlowConfig
from glow_tf.flow.memory import AUTO, parse_memory

PRECISIONS = ("float32", "tf32", "bfloat16")
_TYPES: dict[str, Any] = {"bool": bool, "int": int, "float": (int, float)}
_BOUNDS = {
    "least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "most": ("at most", operator.le),
    "below": ("below", operator.lt),
}
# Groups of settings in --help.
DATA, OPTIMISATION, EVALUATION, RUN = "data", "optimisation", "evaluation", "run"
WORKERS, OPENAI = "distributed training", "compatibility with OpenAI's code"


class TrainError(ValueError):
    """Training cannot start, or cannot continue, for a reason that the message names."""


def _setting(group: str, text: str, *, default: Any, **allowed: Any) -> Any:
    """A field of TrainConfig.

    Args:
      group: of --help.
      text: what it is, for --help.
      default: its value where none is given.
      **allowed: `choices`; bounds: `least` and `most` are allowed values themselves, `above` and `below` are not; or
        `check`, which raises ConfigError.
    """
    return dataclasses.field(default=default, metadata={"group": group, "help": text, **allowed})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Every setting of a training run that is not a property of the model.

    Those before `memory` have the names, defaults and meanings of OpenAI's flags, except: n_batch_test is not ignored
    (no result depends on it), and `epochs` is the number of epochs (OpenAI's code stops one earlier).

    Raises:
      ConfigError: a value is not allowed.
    """

    verbose: bool = _setting(RUN, "print a line for every step", default=False)
    restore_path: str = _setting(
        RUN, "start from the weights of a run, checkpoint, model/ or TF1 checkpoint", default=""
    )
    logdir: str = _setting(RUN, "folder for logs, checkpoints, samples and the model", default="./logs")
    problem: str = _setting(DATA, "data set; see the end", default="cifar10")
    category: str = _setting(DATA, "category of LSUN", default="")
    data_dir: str = _setting(DATA, "folder of the data", default="")
    dal: int = _setting(DATA, "augmentation level: 0 none, 1 standard, 2 extra", default=1, choices=(0, 1, 2))
    fmap: int = _setting(DATA, "files that are read in parallel", default=1, least=1)
    pmap: int = _setting(DATA, "images that are decoded in parallel", default=16, least=1)
    n_train: int = _setting(
        DATA, "images in an epoch; -1, for folder, tfds and mnist the default, is all", default=50000, least=-1
    )
    n_test: int = _setting(DATA, "images of the test set to use; -1 is all of them", default=-1, least=-1)
    n_batch_train: int = _setting(OPTIMISATION, "images per step and worker, at the anchor size", default=64, least=1)
    n_batch_test: int = _setting(EVALUATION, "images per batch and worker, at the anchor size", default=50, least=1)
    n_batch_init: int = _setting(OPTIMISATION, "images of the data-dependent initialisation", default=256, least=1)
    optimizer: str = _setting(OPTIMISATION, "optimizer", default="adamax", choices=("adam", "adamax", "adam2"))
    lr: float = _setting(OPTIMISATION, "learning rate after the warm-up", default=0.001, least=0)
    beta1: float = _setting(OPTIMISATION, "decay of the first moment", default=0.9, least=0, below=1)
    polyak_epochs: float = _setting(
        OPTIMISATION, "epochs that the second moment and the Polyak average average over", default=1, above=0
    )
    weight_decay: float = _setting(OPTIMISATION, "factor on the weights at each step", default=1.0, above=0, most=1)
    epochs: int = _setting(RUN, "epochs to train", default=1000000, least=1)
    epochs_warmup: float = _setting(OPTIMISATION, "epochs of a linear warm-up from 0", default=10, least=0)
    epochs_full_valid: int = _setting(EVALUATION, "epochs between evaluations on the test set", default=50, least=1)
    gradient_checkpointing: int = _setting(
        OPENAI, "1 is --memory checkpoint, 0 is --memory store", default=1, choices=(0, 1)
    )
    anchor_size: int = _setting(
        OPTIMISATION, "image side that batch sizes are meant for; other images: as many pixels", default=32, least=1
    )
    inference: bool = _setting(
        OPENAI, "encode the test set with --restore_path, write x.npy and z.npy to --logdir, and end", default=False
    )
    n_sample: int = _setting(OPENAI, "has no effect, as in OpenAI's code", default=1, least=1)
    epochs_full_sample: int = _setting(EVALUATION, "epochs between sample grids", default=50, least=1)
    seed: int = _setting(OPTIMISATION, "seed of initial weights, data order and noise", default=0, least=0)

    memory: str | None = _setting(
        OPTIMISATION,
        "what is kept for the gradient: as many activations as fit into this device (auto, the default) or into"
        " a SIZE such as 6GiB, all (store), the steps' inputs (checkpoint), or nothing, and steps are inverted"
        " (reversible); or what config.json of another run says",
        default=None,
        check=parse_memory,
    )
    precision: str = _setting(OPTIMISATION, "precision of the coupling networks", default="float32", choices=PRECISIONS)
    jit: str = _setting(
        OPTIMISATION,
        "whether XLA compiles the levels' loops: auto is on where there is a GPU",
        default="auto",
        choices=("auto", "on", "off"),
    )
    deterministic: bool = _setting(
        OPTIMISATION, "the same bits in every run on the same GPUs, by kernels that are slower", default=False
    )
    compression: str = _setting(
        WORKERS, "compression of gradients sent between workers", default="none", choices=("none", "fp16")
    )
    polyak: bool = _setting(EVALUATION, "evaluate, sample and save model/ with the Polyak average", default=False)
    resume: bool = _setting(RUN, "resume the run in --logdir", default=False)
    image_dir: str = _setting(DATA, "folder of images, for --problem folder", default="")
    crop: int = _setting(
        DATA,
        "side of the square cut out of the centre of images of folder and tfds first; 0 is none",
        default=0,
        least=0,
    )
    steps: int = _setting(RUN, "stop after so many steps; 0 is after --epochs", default=0, least=0)
    train_its: int = dataclasses.field(default=0, metadata={"least": 0})  # steps per epoch; 0: from n_train
    checkpoint_minutes: float = _setting(RUN, "longest time between checkpoints", default=10.0, least=0)
    checkpoint_steps: int = _setting(RUN, "steps between checkpoints; 0 is by time only", default=0, least=0)
    commit_steps: int = _setting(
        WORKERS, "elastic Horovod: steps between commits, which a lost worker costs at most", default=50, least=1
    )
    dry_run: bool = _setting(
        RUN, "run one training step, one evaluation batch and small sample grids as a check", default=False
    )
    skip_corrupt: bool = _setting(DATA, "skip damaged images with a warning instead of stopping", default=False)
    on_nan: str = _setting(
        OPTIMISATION,
        "after a step whose loss or gradient is not finite, with a 1x1 convolution close to singular, or with an input"
        " that is not recovered: stop, skip its update, or rollback to the last checkpoint with half the learning rate",
        default="stop",
        choices=("stop", "skip", "rollback"),
    )
    clip_grad_norm: float = _setting(OPTIMISATION, "largest norm of the gradient; 0 is any", default=0.0, least=0)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_field(field, getattr(self, field.name))
        for name in ("n_train", "n_test"):
            if getattr(self, name) == 0:
                raise ConfigError(f"{name} is 0; it must be at least 1, or -1 for all images")

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The inverse of `to_dict`; missing fields take their defaults.

        Raises:
          ConfigError: for a name that is no field, or a value that is not allowed.
        """
        unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise ConfigError(f"unknown training settings: {', '.join(unknown)}")
        return cls(**values)

    def local_batch(self, n_batch: int, model: GlowConfig) -> int:
        """Images of this model per worker for a batch size that is meant at the anchor size."""
        return max(1, n_batch * self.anchor_size**2 // (model.height * model.image_width))

    def steps_per_epoch(self, workers: int = 1) -> int:
        """Optimizer steps in an epoch."""
        return self.train_its or math.ceil(self.n_train / (self.n_batch_train * workers))

    def steps_left(self, taken: int, seen: int, workers: int = 1) -> int:
        """Optimizer steps until the end of an epoch, which may have begun with another number of workers.

        Args:
          taken: steps of the epoch so far.
          seen: its images so far, at the anchor size.
          workers: how many there are now.
        """
        if self.train_its:
            return max(0, self.train_its - taken)
        return max(0, math.ceil((self.n_train - seen) / (self.n_batch_train * workers)))

    def lr_at(self, n_processed: int) -> float:
        """The learning rate after `n_processed` images (at the anchor size): linear warm-up from 0."""
        warmup = self.n_train * self.epochs_warmup
        return self.lr * min(1.0, n_processed / warmup) if warmup else self.lr

    def resolve_memory(self) -> str:
        """What is asked for: `memory`; if None, store where gradient_checkpointing is 0, else auto.

        On a command line that names --gradient_checkpointing 1, `memory` is checkpoint.
        """
        return self.memory or (AUTO if self.gradient_checkpointing else "store")


def check_field(field: dataclasses.Field[Any], value: Any) -> None:
    """Raises ConfigError unless the value is what the field's type (a string here) and metadata allow."""
    kind, name, allowed = str(field.type), field.name, field.metadata
    if value is None and "None" in kind:
        return
    good = isinstance(value, _TYPES.get(kind, str)) and (kind == "bool" or not isinstance(value, bool))
    if not good or (isinstance(value, (int, float)) and not abs(value) < sys.float_info.max):
        raise ConfigError(f"{name} is {value!r}; it must be {kind.replace(' | None', '')}")
    if "choices" in allowed and value not in allowed["choices"]:
        raise ConfigError(f"{name} is {value!r}; allowed are {', '.join(map(str, allowed['choices']))}")
    if "check" in allowed:
        allowed["check"](value)
    bounds = {bound: allowed[bound] for bound in _BOUNDS if bound in allowed}
    if not all(_BOUNDS[bound][1](value, limit) for bound, limit in bounds.items()):
        wanted = " and ".join(f"{_BOUNDS[bound][0]} {limit}" for bound, limit in bounds.items())
        raise ConfigError(f"{name} is {value}; it must be {wanted}")
