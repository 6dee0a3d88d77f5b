"""How a model is trained: TrainConfig. What the model is: `glow_tf.config.GlowConfig`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from glow_tf.config import ConfigError

OPTIMIZERS = ("adam", "adamax", "adam2")
MEMORIES = ("store", "checkpoint", "reversible")
PRECISIONS = ("float32", "bfloat16")
COMPRESSIONS = ("none", "fp16")
ON_NAN = ("stop", "skip", "rollback")


class TrainError(ValueError):
    """Training cannot start, or cannot go on, for a reason that the message names."""


class StorageError(TrainError):
    """Something cannot be written: a full disk, a read-only folder; the message names the file and the reason."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Every setting of a training run that is not a property of the model.

    The first part has the names, defaults and meanings of the original's flags; where its meaning
    was changed the line says "Deviation". The second part is ours.

    Attributes:
      verbose: print a line for every step.
      restore_path: weights to start from: a run's folder, one of its checkpoints, a model/ folder,
        or the prefix of a TF1 checkpoint of the original. Only weights; see `resume` for the rest.
      logdir: folder of everything the run writes.
      problem: name of the data set (`data_loaders.problems()`).
      category: sub-set of LSUN.
      data_dir: where the data is; empty: the problem's default.
      dal: data augmentation level, 0 none, 1 standard, 2 extra.
      fmap, pmap: parallel file readers and parallel maps of the data pipeline.
      n_train: images in an epoch (of any data set, whatever its size).
      n_test: images of the test set to use; -1 all of them.
      n_batch_train: images per step and worker at the anchor size; see `anchor_size`.
      n_batch_test: the same for tests. Deviation: the original ignores it. No result depends on it.
      n_batch_init: images of the data-dependent initialisation at the anchor size.
      optimizer: adam, adamax or adam2.
      lr: learning rate after warm-up.
      beta1: decay of the first moment.
      polyak_epochs: averaging time of the second moment and of the Polyak average, in epochs.
      weight_decay: factor on the weights at each step; 1 is off.
      epochs: length of the run. Deviation: the original stops one epoch earlier.
      epochs_warmup: epochs over which the learning rate grows linearly from 0.
      epochs_full_valid: epochs between evaluations on the whole test set.
      gradient_checkpointing: the original's spelling of `memory`: 0 stores everything.
      anchor_size: image side for which the batch sizes are meant; others get
        n_batch * anchor_size^2 // (height * width), at least 1.
      n_sample: accepted, and without effect, as in the original.
      epochs_full_sample: epochs between sample grids (and after epochs 1 and 10).
      seed: of initial weights, data order and noise.
      memory: how gradients are had: store, checkpoint or reversible; None: see `resolve_memory`.
      precision: of the coupling networks: float32 or bfloat16.
      compression: of gradients on their way between workers: none or fp16.
      polyak: evaluate, sample and save model/ with the Polyak average instead of the weights.
      resume: go on with the run in `logdir`.
      image_dir: folder of images, for problem "folder".
      steps: stop after so many steps; 0: after `epochs`.
      train_its: steps per epoch; 0: ceil(n_train / (n_batch_train * workers)).
      checkpoint_minutes: longest time between checkpoints.
      checkpoint_steps: steps between checkpoints; 0: by time only.
      commit_steps: under elastic Horovod, steps between commits: what is lost at most when a worker is lost, and how
        long a new one waits to be let in.
      dry_run: one step of everything, to see that the run would work.
      skip_corrupt: go on without damaged images, with a warning, instead of ending.
      on_nan: what follows a step whose loss or gradient is not finite, or with a 1x1 convolution close to
        singular: stop; skip, the update is left out; rollback, to the last checkpoint, with half the learning
        rate and fresh noise.
      clip_grad_norm: largest global norm of the averaged gradient; a larger one is scaled down to it. 0 is off.

    Raises:
      ConfigError: a value is not allowed.
    """

    verbose: bool = False
    restore_path: str = ""
    logdir: str = "./logs"
    problem: str = "cifar10"
    category: str = ""
    data_dir: str = ""
    dal: int = 1
    fmap: int = 1
    pmap: int = 16
    n_train: int = 50000
    n_test: int = -1
    n_batch_train: int = 64
    n_batch_test: int = 50
    n_batch_init: int = 256
    optimizer: str = "adamax"
    lr: float = 0.001
    beta1: float = 0.9
    polyak_epochs: float = 1
    weight_decay: float = 1.0
    epochs: int = 1000000
    epochs_warmup: float = 10
    epochs_full_valid: int = 50
    gradient_checkpointing: int = 1
    anchor_size: int = 32
    n_sample: int = 1
    epochs_full_sample: int = 50
    seed: int = 0

    memory: str | None = None
    precision: str = "float32"
    compression: str = "none"
    polyak: bool = False
    resume: bool = False
    image_dir: str = ""
    steps: int = 0
    train_its: int = 0
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0
    commit_steps: int = 50
    dry_run: bool = False
    skip_corrupt: bool = False
    on_nan: str = "stop"
    clip_grad_norm: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field, getattr(self, field.name))
        for name, allowed in (
            ("optimizer", OPTIMIZERS),
            ("precision", PRECISIONS),
            ("compression", COMPRESSIONS),
            ("on_nan", ON_NAN),
            ("memory", (None, *MEMORIES)),
            ("dal", (0, 1, 2)),
            ("gradient_checkpointing", (0, 1)),
        ):
            if getattr(self, name) not in allowed:
                names = ", ".join(str(a) for a in allowed if a is not None)
                raise ConfigError(f"{name} is {getattr(self, name)!r}; allowed are {names}")
        for name, bound in _AT_LEAST.items():
            if not getattr(self, name) >= bound:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {bound}")
        if not 0 <= self.beta1 < 1:
            raise ConfigError(f"beta1 is {self.beta1}; it must be in [0, 1)")
        if not 0 < self.weight_decay <= 1:
            raise ConfigError(f"weight_decay is {self.weight_decay}; it must be in (0, 1], 1 is off")
        if not 0 < self.polyak_epochs:
            raise ConfigError(f"polyak_epochs is {self.polyak_epochs}; it must be above 0")
        if self.n_test == 0 or self.n_test < -1:
            raise ConfigError(f"n_test is {self.n_test}; it must be at least 1, or -1 for all")

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

    def local_batch(self, n_batch: int, height: int, width: int) -> int:
        """Images per worker at this image size for a batch size that is meant at the anchor size."""
        return max(1, n_batch * self.anchor_size**2 // (height * width))

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
        """How gradients are had: `memory`; where it is None, reversible, or store if gradient_checkpointing is 0.

        The original's default (1) asks for saving memory, and the reversible way saves the most. On a command line
        that names --gradient_checkpointing 1, `memory` is checkpoint.
        """
        return self.memory or ("reversible" if self.gradient_checkpointing else "store")


_AT_LEAST: dict[str, float] = {
    "fmap": 1, "pmap": 1, "n_train": 1, "n_batch_train": 1, "n_batch_test": 1, "n_batch_init": 1,
    "lr": 0, "epochs": 1, "epochs_warmup": 0, "epochs_full_valid": 1, "anchor_size": 1,
    "n_sample": 1, "epochs_full_sample": 1, "seed": 0, "steps": 0, "train_its": 0,
    "checkpoint_minutes": 0, "checkpoint_steps": 0, "commit_steps": 1,
    "clip_grad_norm": 0,
}  # fmt: skip


def _check_type(field: dataclasses.Field[Any], value: Any) -> None:
    """Field types are strings here: "bool", "int", "float", "str", "str | None"."""
    kind = str(field.type)
    if kind == "bool":
        good = isinstance(value, bool)
    elif kind == "int":
        good = isinstance(value, int) and not isinstance(value, bool)
    elif kind == "float":
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        good = good and math.isfinite(value)
    else:
        good = isinstance(value, str) or (value is None and "None" in kind)
    if not good:
        raise ConfigError(f"{field.name} is {value!r}; it must be {kind.replace(' | None', '')}")
