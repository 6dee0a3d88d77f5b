"""The loop of a training run: steps, epochs, and what ends them."""

from __future__ import annotations

import math
import time
from typing import Any

import tensorflow as tf

from glow_tf.training.config import TrainError
from glow_tf.training.inspection import Inspection
from glow_tf.training.interrupt import Stopper
from glow_tf.training.keeper import Keeper
from glow_tf.training.reports import Reports
from glow_tf.training.trainer import Trainer


class Loop:
    """One worker's steps, until the end or a signal.

    Args:
      trainer: takes the steps; its counters say where the run stands.
      data: a DataSet.
      keeper: saves checkpoints.
      reports: is told what happened.
      inspection: evaluates and draws.
      stopper: knows of signals.
      batch: images of a step.
      total: steps of the whole run.
    """

    def __init__(
        self,
        trainer: Trainer,
        data: Any,
        keeper: Keeper,
        reports: Reports,
        inspection: Inspection,
        stopper: Stopper,
        *,
        batch: int,
        total: int,
    ) -> None:
        self.trainer, self.data, self.keeper, self.reports = trainer, data, keeper, reports
        self.inspection, self.stopper, self.batch, self.total = inspection, stopper, batch, total
        self.config, self.workers, self.state = trainer.config, trainer.workers, trainer.state
        self._wishes = {"stop": False, "save": False}
        self._clock = time.monotonic()

    def run(self) -> bool:
        """Steps and epochs; whether they came to their end, with the last evaluation and pictures.

        Raises:
          TrainError: training diverged.
        """
        return self._steps() and self._last_words()

    def _steps(self) -> bool:
        batches = self._batches()
        pending: tf.Tensor | None = None
        self._start_epoch()
        while True:
            # A step's numbers are read after the next one is under way, so that an accelerator never
            # waits; every worker reads the same ones, so all stop and save after the same step.
            taken = self.state.epoch_step + (pending is not None)
            full = taken >= self.trainer.train_its
            alone = self.workers.size == 1
            if full or self.state.step >= self.total or (alone and self.stopper.asked):
                if pending is not None:
                    self._count(pending)
                    pending = None
                if self._stop_asked() or (full and not self._end_epoch()):
                    return False
                if self.state.step >= self.total:
                    return True
                self._start_epoch()
                continue
            wanted = self.keeper.wanted()
            results = self._dispatch(*next(batches), save=wanted)
            if pending is not None:
                self._count(pending)
            pending = results
            if any(self._wishes.values()) or (alone and wanted):
                self._count(pending)
                pending = None
                if self._wishes["stop"]:
                    return False
                self.keeper.save()
                self._wishes["save"] = False
                self._clock = time.monotonic()

    def _batches(self) -> Any:
        """The batches from where the run stands."""
        rank, size = self.workers.rank, self.workers.size
        start = self.state.n_images // (self.batch * size)
        return iter(self.data.train_batches(self.batch, rank=rank, size=size, start=start, seed=self.config.seed))

    def _start_epoch(self) -> None:
        self.reports.start_epoch()
        self._clock = time.monotonic()

    def _dispatch(self, x: tf.Tensor, y: tf.Tensor, *, save: bool) -> tf.Tensor:
        try:
            return self.trainer.dispatch(x, y, stop=self.stopper.asked, save=save)
        except tf.errors.InvalidArgumentError as error:
            if "not invertible" not in str(error):
                raise
            raise self._diverged("a 1x1 convolution is not invertible any more") from None

    def _count(self, results: tf.Tensor) -> None:
        """Takes a step's numbers in, and what any worker wished at that step."""
        metrics, state, now = self.trainer.read(results), self.state, time.monotonic()
        seconds, self._clock = now - self._clock, now
        state.train_time += seconds
        if not (math.isfinite(metrics["loss"]) and math.isfinite(metrics["grad_norm"])):
            raise self._diverged(f"the loss is {metrics['loss']}, its gradient's norm {metrics['grad_norm']}")
        state.add(metrics)
        self.reports.progress.step(state, metrics, self.batch * self.workers.size)
        if self.config.verbose:
            self.reports.say(f"{state.n_processed} {seconds:.3f} {metrics}")
        for wish in self._wishes:
            self._wishes[wish] |= metrics[wish] > 0

    def _diverged(self, what: str) -> TrainError:
        """The error for a run that cannot go on; every worker comes to it at the same step."""
        state = self.state
        return TrainError(
            f"training diverged in epoch {state.epochs_done + 1}, step {state.epoch_step + 1}: {what}. Nothing was"
            " saved since the last checkpoint. A lower --lr or a longer --epochs_warmup may help, in a new --logdir"
            f" with --restore_path {self.config.logdir} where that has a checkpoint"
        )

    def _end_epoch(self) -> bool:
        """Logs, evaluates, draws and closes the epoch; False where a signal came meanwhile."""
        state, config, epoch = self.state, self.config, self.state.epochs_done + 1
        self.reports.trained(epoch)
        validate = epoch % config.epochs_full_valid == 0
        best = False
        if validate:
            test = self.inspection.evaluate(epoch)
            if test is None:
                return False
            best = state.best_loss is None or test["loss"] < state.best_loss
        if epoch in (1, 10) or epoch % config.epochs_full_sample == 0:
            self.inspection.draw(epoch)
        if self._stop_asked():
            return False
        if best and test:
            state.best_loss = test["loss"]
        state.close_epoch()
        if validate:
            self.keeper.save(best=best)
        return True

    def _last_words(self) -> bool:
        """The open epoch's log line, and the evaluation and pictures of the end, unless just made."""
        epoch = max(1, self.state.epochs_done)
        if self.state.epoch_step:
            epoch = self.state.epochs_done + 1
            self.reports.trained(epoch)
        return self.inspection.complete(epoch)

    def _stop_asked(self) -> bool:
        return self._wishes["stop"] or self.workers.any("stop", flag=self.stopper.asked)
