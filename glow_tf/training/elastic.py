"""What an elastic job goes on from when workers come or go: a copy in memory of all that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from glow_tf.training.distributed import Workers
from glow_tf.training.state import TrainState
from glow_tf.training.trainer import Trainer


class Committed:
    """The last committed state of a run, on every worker.

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
        self._arrays: list[np.ndarray] = []
        self._state: dict[str, Any] | None = None

    def save(self) -> None:
        """Copies the trainer's variables and counters."""
        assert self.trainer is not None
        self._arrays = [np.array(variable) for variable in self.trainer.kept_variables()]
        self._state = self.trainer.state.to_dict()

    def restore(self) -> None:
        """Undoes what came after the last `save`; everything, where there was none."""
        if self._state is None:
            self.trainer = None
            return
        assert self.trainer is not None
        for variable, array in zip(self.trainer.kept_variables(), self._arrays, strict=True):
            variable.assign(array)
        self._take_up(self._state)

    def share(self) -> None:
        """Gives every worker what rank 0 has committed.

        Call it on all workers at once, each with its trainer as it was saved or restored, or without one.
        """
        state = self._workers.broadcast_object(self._state)
        if state is None:
            self.trainer = None  # rank 0 begins, so all do
            return
        self.trainer = self.trainer or self._make()
        self._workers.broadcast(self.trainer.kept_variables())
        self._take_up(state)
        self.save()

    def _take_up(self, state: dict[str, Any]) -> None:
        assert self.trainer is not None
        self.trainer.state = TrainState.from_dict(state)
        self.trainer.forget_steps()
