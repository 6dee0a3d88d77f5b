"""What a run looks at from time to time: its test set, and its samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glow_tf.training.evaluation import evaluate, sample_grids
from glow_tf.training.interrupt import Stopper
from glow_tf.training.reports import Reports
from glow_tf.training.trainer import Trainer


class Inspection:
    """Evaluations and sample grids, with the weights that the configuration asks for, and the latest of each.

    Args:
      trainer: whose model.
      data: a DataSet.
      reports: where the results go.
      stopper: asked after every batch.
    """

    def __init__(self, trainer: Trainer, data: Any, reports: Reports, stopper: Stopper) -> None:
        self._trainer, self._data, self._reports, self._stopper = trainer, data, reports, stopper
        self._config, self._model = trainer.config, trainer.glow.config
        self._test: tuple[int, dict[str, float]] | None = None  # step, metrics
        self._drawn_epoch = 0
        self.picture: Path | None = None  # the latest sample grid at temperature 0.7

    @property
    def test(self) -> dict[str, float] | None:
        """The latest metrics over the whole test set."""
        return self._test[1] if self._test else None

    def evaluate(self, epoch: int) -> dict[str, float] | None:
        """The metrics over the whole test set; None where a signal came meanwhile."""
        batch = self._config.local_batch(self._config.n_batch_test, self._model.height, self._model.image_width)
        with self._trainer.averaged(use=self._config.polyak):
            test = evaluate(
                self._trainer,
                self._data,
                batch,
                max_batches=1 if self._config.dry_run else None,
                stop=lambda: self._stopper.asked,
            )
        if test is not None:
            self._test = (self._trainer.state.step, test)
            self._reports.tested(epoch, test)
        return test

    def draw(self, epoch: int) -> None:
        """Rank 0 draws the sample grids of this epoch."""
        if self._trainer.workers.is_chief:
            self._reports.trying(lambda: self._draw(epoch))

    def _draw(self, epoch: int) -> None:
        rows = 10 if max(self._model.height, self._model.image_width) <= 64 else 4
        batch = self._config.local_batch(self._config.n_batch_train, self._model.height, self._model.image_width)
        with self._trainer.averaged(use=self._config.polyak):
            pictures = sample_grids(
                self._trainer,
                Path(self._config.logdir),
                epoch,
                batch,
                rows=1 if self._config.dry_run else rows,
                stop=lambda: self._stopper.asked,
            )
        self._drawn_epoch = epoch
        self.picture = next((path for path in pictures if path.stem.endswith("_sample_4")), self.picture)
        self._reports.drawn(pictures)

    def forget(self) -> None:
        """The run went back: what was evaluated and drawn is to be done again."""
        self._test, self._drawn_epoch = None, 0

    def complete(self, epoch: int) -> bool:
        """Makes up for what this epoch or step has not had yet; False where a signal came meanwhile."""
        if self._test is None or self._test[0] != self._trainer.state.step:
            if self.evaluate(epoch) is None:
                return False
        if self._drawn_epoch != epoch:
            self.draw(epoch)
        return True
