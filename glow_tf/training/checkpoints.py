"""What a run resumes from: its checkpoints on disk, and, in elastic jobs, a copy in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from glow_tf.storage import checkpoints
from glow_tf.training.state import TrainState
from glow_tf.training.trainer import Trainer
from glow_tf.training.workers import Workers


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
        self._clock = time.monotonic()
        self.path = ""

    def restore(self, warn: Callable[[str], None]) -> bool:
        """Loads the newest undamaged checkpoint and shares it with all workers.

        Returns:
          Whether there was one.

        Raises:
          CheckpointError (TrainError on the other workers): every checkpoint is damaged, or does not fit.
        """
        groups, workers = self.trainer.groups(), self.trainer.workers

        def load() -> dict[str, Any] | None:
            state = checkpoints.restore_latest(self._folder, groups, TrainState.from_dict, warn)
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
        self._committed: tuple[TrainState, list[np.ndarray]] | None = None

    def save(self) -> None:
        """Copies the trainer's variables and counters."""
        assert self.trainer is not None
        self._committed = self.trainer.state.copy(), [np.array(v) for v in self.trainer.saved_variables()]

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
