"""When a run saves, and how it is picked up again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from glow_tf.training import checkpoints
from glow_tf.training.state import TrainState
from glow_tf.training.trainer import Trainer


class Keeper:
    """The checkpoints of a run. Rank 0 reads and writes them.

    Args:
      trainer: whose state is kept.
      folder: the run's checkpoints/.
    """

    def __init__(self, trainer: Trainer, folder: Path) -> None:
        self.trainer, self._folder = trainer, folder
        self._kept: dict[str, object] | None = None
        self._clock = time.monotonic()
        self.path = ""

    def restore(self, warn: Callable[[str], None]) -> bool:
        """Loads the newest good checkpoint and shares it with all workers; whether there was one.

        Raises:
          CheckpointError (TrainError on the other workers): every checkpoint is damaged, or does not fit.
        """
        groups, workers = self._groups(), self.trainer.workers
        state = workers.on_chief(lambda: checkpoints.restore_latest(self._folder, groups, warn))
        if state is None:
            return False
        self.trainer.state = TrainState.from_dict(state)
        self.trainer.forget_steps()
        for variables in groups.values():
            workers.broadcast(list(variables.values()))
        self._kept = state
        self.path = str(self._folder)
        return True

    def save(self, *, best: bool = False) -> None:
        """Writes a checkpoint, unless the last one is of this very moment; `path` says where it is.

        Call it on all workers at once, and outside `Trainer.averaged`.

        Raises:
          DivergedError: the next step would not be fine. Nothing was written.
        """
        if self.trainer.is_averaged:
            raise RuntimeError("the model has the averaged weights; save outside `averaged()`")
        self.trainer.probe()
        groups, state = self._groups(), self.trainer.state.to_dict()
        if best or state != self._kept:
            self.path = self.trainer.workers.on_chief(
                lambda: str(checkpoints.save(self._folder, groups, state, best=best))
            )
            self._kept = state
        self._clock = time.monotonic()

    def postpone(self) -> None:
        """After a checkpoint could not be written: the next is due in a minute."""
        self._clock = time.monotonic() - 60 * (self.trainer.config.checkpoint_minutes - 1)

    def wanted(self) -> bool:
        """Whether the step to come should be followed by a checkpoint; the clock of rank 0 decides."""
        config = self.trainer.config
        if config.checkpoint_steps and (self.trainer.state.step + 1) % config.checkpoint_steps == 0:
            return True
        late = time.monotonic() - self._clock > 60 * config.checkpoint_minutes
        return late and self.trainer.workers.is_chief

    def _groups(self) -> checkpoints.Groups:
        return {
            "weights": self.trainer.glow.named_variables(),
            "optimizer": self.trainer.optimizer.slots,
            "average": self.trainer.average,
        }
