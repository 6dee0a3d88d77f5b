"""What a run resumes from: its checkpoints on disk, and, in elastic jobs, a copy in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf import runtime
from glow_tf.storage import checkpoints
from glow_tf.training.state import TrainState
from glow_tf.training.trainer import Trainer
from glow_tf.training.workers import Workers

_ROOM = 1.25  # times the size of a copy, as free memory may be in pieces


class CheckpointManager:
    """Saves and restores the checkpoints of a run. Rank 0 reads and writes them.

    Args:
      trainer: whose state is saved.
      folder: the run's checkpoints/.

    Attributes:
      path: where the latest checkpoint is; empty before the first.
    """

    def __init__(self, trainer: Trainer, folder: Path) -> None:
        self.trainer, self._folder = trainer, folder
        self._saved: TrainState | None = None
        self._rolled_back: Path | None = None  # to this checkpoint
        self._clock = time.monotonic()
        self.path = ""

    def restore(self, warn: Callable[[str], None], *, diverged: bool = False) -> bool:
        """Loads the newest undamaged checkpoint and shares it with all workers.

        Args:
          warn: is told of checkpoints that are passed over.
          diverged: the training went wrong from here on. Where that happened before from the newest checkpoint, it is
            set aside and the one before is loaded, if there is one.

        Returns:
          Whether there was one.

        Raises:
          CheckpointError (TrainError on the other workers): every checkpoint is damaged, or does not fit.
        """
        groups, workers = self.trainer.groups(), self.trainer.workers

        def load() -> dict[str, Any] | None:
            if diverged:
                found = checkpoints.list_checkpoints(self._folder)
                if len(found) > 1 and found[-1] == self._rolled_back and checkpoints.is_whole(found[-2]):
                    warn(f"checkpoint set aside: training diverged twice from {found[-1]}")
                    checkpoints.set_aside(found[-1], "diverged-")
            state = checkpoints.restore_latest(self._folder, groups, TrainState.from_dict, warn)
            if diverged and state:
                self._rolled_back = checkpoints.list_checkpoints(self._folder)[-1]
            return state.to_dict() if state else None

        values = workers.on_chief(load)
        if values is None:
            return False
        workers.broadcast(self.trainer.saved_variables())
        self.trainer.resume_at(TrainState.from_dict(values))
        self._saved, self.path = TrainState.from_dict(values), str(self._folder)
        return True

    def save(self, *, best: bool = False) -> None:
        """Writes a checkpoint, unless the last one is of this very moment; `path` says where it is.

        Call it on all workers at once, and outside `Trainer.averaged`.

        Raises:
          DivergedError: the next step would fail. Nothing was written.
        """
        if self.trainer.is_averaged:
            raise RuntimeError("the model has the averaged weights; save outside `averaged()`")
        self.trainer.probe()
        groups, state = self.trainer.groups(), self.trainer.state.copy()
        if best or state != self._saved:
            self.path = self.trainer.workers.on_chief(
                lambda: str(checkpoints.save(self._folder, groups, state.to_dict(), best=best))
            )
            self._saved = state
        self._clock = time.monotonic()

    def postpone(self) -> None:
        """After a checkpoint could not be written: the next is due in a minute."""
        self._clock = time.monotonic() - 60 * (self.trainer.config.checkpoint_minutes - 1)

    def is_due(self) -> bool:
        """Whether the step to come should be followed by a checkpoint; the clock of rank 0 decides."""
        config = self.trainer.config
        if config.checkpoint_steps and (self.trainer.state.step + 1) % config.checkpoint_steps == 0:
            return True
        late = time.monotonic() - self._clock > 60 * config.checkpoint_minutes
        return late and self.trainer.workers.is_chief


class ElasticState:
    """What an elastic job resumes from when workers come or go: the last committed state, on every worker.

    Args:
      workers: who shares it.
      make: makes the trainer, the same on every worker but for the values of its weights. It must not wait for other
        workers, because one that joins makes its own while the others wait for `share`.

    Attributes:
      trainer: None until the run has one.
    """

    def __init__(self, workers: Workers, make: Callable[[], Trainer]) -> None:
        self._workers, self._make = workers, make
        self.trainer: Trainer | None = None
        self._committed: tuple[TrainState, list[Any]] | None = None
        self._on_gpu = False

    def save(self) -> None:
        """Copies the trainer's variables and counters: on the GPU where it has room for them beside a training step."""
        assert self.trainer is not None
        variables = self.trainer.saved_variables()
        if self._committed and self._committed[0].step < self.trainer.state.step:  # what a step needs is known
            size = sum(variable.dtype.size * variable.shape.num_elements() for variable in variables)
            self._on_gpu = self._on_gpu or runtime.spare_gpu_memory() > _ROOM * size
        if self._on_gpu:
            self._committed = None  # there is room for one copy
        try:
            copies = _copies(variables, on_gpu=self._on_gpu)
        except tf.errors.ResourceExhaustedError:  # an evaluation has taken more than the steps
            self._on_gpu = False
            copies = _copies(variables, on_gpu=False)
        self._committed = self.trainer.state.copy(), copies

    def restore(self) -> None:
        """Undoes what came after the last `save`; everything, where there was none."""
        if self._committed is None:
            self.trainer = None
            return
        assert self.trainer is not None
        state, arrays = self._committed
        for variable, array in zip(self.trainer.saved_variables(), arrays, strict=True):
            variable.assign(array)
        self.trainer.resume_at(state.copy())

    def share(self) -> None:
        """Gives every worker what rank 0 has committed.

        Call it on all workers at once, each with its trainer as it was saved or restored, or without one.
        """
        state = self._workers.broadcast_object(self._committed and self._committed[0].to_dict())
        if state is None:
            self.trainer = None  # rank 0 begins, so all do
            return
        self.trainer = self.trainer or self._make()
        self._workers.broadcast(self.trainer.saved_variables())
        self.trainer.resume_at(TrainState.from_dict(state))
        self.save()


def _copies(variables: Sequence[tf.Variable], *, on_gpu: bool) -> list[Any]:
    """What the variables hold: in the host's memory, or where they are themselves."""
    there = (on_gpu and variable.dtype.is_floating for variable in variables)
    return [tf.raw_ops.DeepCopy(x=v) if stays else np.array(v) for v, stays in zip(variables, there, strict=True)]
