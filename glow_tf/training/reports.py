"""What rank 0 writes down of a run; on the other workers, nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glow_tf.training.config import StorageError
from glow_tf.training.logs import Progress, ResultLog, TensorBoard
from glow_tf.training.state import TrainState
from glow_tf.training.trainer import Trainer


class Reports:
    """train.txt, test.txt, TensorBoard and the terminal.

    Args:
      trainer: whose run.
      logdir: where to.
      total: steps of the whole run.
      header: hyper-parameters, the first line of train.txt and test.txt.
      resumed: the run goes on from `trainer.state`.
    """

    def __init__(self, trainer: Trainer, logdir: Path, *, total: int, header: Mapping[str, Any], resumed: bool) -> None:
        self._trainer, self._total, self._resumed = trainer, total, resumed
        self._logdir, self._header = logdir, header
        self._chief = trainer.workers.is_chief
        self.progress = Progress(shown=self._chief, total_steps=total)
        self.say = self.progress.say
        if self._chief:
            self._open_logs(trainer.state if resumed else None)
            self._board = TensorBoard(logdir / "events")

    @property
    def _state(self) -> TrainState:
        return self._trainer.state

    def rewind(self) -> None:
        """The run went back to `trainer.state`: the lines of what it will do again are dropped."""
        if self._chief:
            self._open_logs(self._state)

    def _open_logs(self, state: TrainState | None) -> None:
        self._train = ResultLog(self._logdir / "train.txt", self._header, state)
        every = self._trainer.config.epochs_full_valid
        self._test = ResultLog(self._logdir / "test.txt", self._header, state, every)

    def begin(self, name: str, batch: int, logdir: Path) -> None:
        """One line about the run as a whole."""
        weights = sum(math.prod(v.shape) for v in self._trainer.variables.values())
        start = f"step {self._state.step}" if self._resumed else "the beginning"
        self.say(
            f"{name}: {weights:,} weights, {self._trainer.workers.size} worker(s) with {batch} images a step,"
            f" {self._trainer.train_its} steps an epoch; from {start} to step {self._total}; logs in {logdir}"
        )

    def start_epoch(self, steps: int) -> None:
        """The terminal's bar begins anew, or goes on where the open epoch of so many steps stands."""
        state = self._state
        self.progress.start_epoch(state.epochs_done + 1, steps, state.epoch_step)

    def trained(self, epoch: int) -> None:
        """The open epoch's mean results."""
        self.progress.end_epoch()
        if self._chief:
            state, means = self._state, self._state.epoch_means()
            counters = {**self._counters(epoch), "train_time": int(state.train_time)}
            if state.epoch_skipped:
                counters["skipped"] = state.epoch_skipped
            self.trying(lambda: self._train.log(means, **counters))
            values = {"lr": self._trainer.learning_rate, "skipped": state.skipped, "rollbacks": state.rollbacks}
            values = {**means, **values, **self._trainer.latest()}
            self.trying(lambda: self._board.scalars(values, state.step, "train"))
            self.trying(lambda: self._board.actnorm_scales(self._trainer.glow.named_variables(), state.step))
            self.say(f"epoch {epoch}: train bits/dim {means['bits_x']:.4f}, {state.train_time:.0f} s")

    def tested(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """The results over the test set."""
        if self._chief:
            self.trying(lambda: self._test.log(metrics, **self._counters(epoch)))
            self.trying(lambda: self._board.scalars(metrics, self._state.step, "test"))
            self.say(f"epoch {epoch}: test bits/dim {metrics['bits_x']:.4f}")

    def drawn(self, pictures: Mapping[Path, np.ndarray]) -> None:
        """The sample grids, for TensorBoard."""
        for path, picture in pictures.items():
            self._board.image(f"samples/{path.stem.rsplit('_', 1)[1]}", picture, self._state.step)
        self._board.flush()

    def flush(self) -> None:
        """Writes what is waiting for TensorBoard."""
        if self._chief:
            self.trying(self._board.flush)

    def settle(self) -> None:
        """Writes log lines that could not be written before.

        Raises:
          StorageError: they still cannot.
        """
        self._train.settle()
        self._test.settle()

    def trying(self, write: Callable[[], None]) -> None:
        """Writes something that the training can go on without, or says why that failed."""
        try:
            write()
        except StorageError as error:
            self.say(f"warning: {error}; the training goes on")

    def _counters(self, epoch: int) -> dict[str, int]:
        return {"epoch": epoch, "n_processed": self._state.n_processed, "n_images": self._state.n_images}
