"""The loop of a training run: steps, epochs, and what ends them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from glow_tf.runtime import SignalHandler
from glow_tf.storage.files import StorageError
from glow_tf.training import diagnosis
from glow_tf.training.checkpoints import CheckpointManager
from glow_tf.training.config import TrainError
from glow_tf.training.diagnosis import MAX_ROLLBACKS, MAX_SKIPS, ROLLBACK_LR, DivergedError
from glow_tf.training.evaluation import Evaluator
from glow_tf.training.logging import RunLogger
from glow_tf.training.state import TrainState
from glow_tf.training.step import REQUESTS


class Loop:
    """One worker's steps, until the end or a signal.

    Args:
      manager: saves checkpoints of its trainer, which takes the steps and whose counters say where the run is.
      data: a DataSet.
      log: is told what happened.
      evaluator: evaluates and draws.
      signals: knows whether this process is to stop.
      commit: of elastic jobs; called every `commit_steps` and after every epoch, on all workers at the same step.
    """

    def __init__(
        self,
        manager: CheckpointManager,
        data: Any,
        log: RunLogger,
        evaluator: Evaluator,
        signals: SignalHandler,
        commit: Callable[[], None] | None = None,
    ) -> None:
        self.manager, self.trainer, self.data, self.log = manager, manager.trainer, data, log
        self.evaluator, self.signals, self._commit = evaluator, signals, commit
        self.config, self.workers = self.trainer.config, self.trainer.workers
        self.batch, self.total = self.trainer.local_batch(self.config.n_batch_train), self.trainer.total_steps()
        self._requests = dict.fromkeys(REQUESTS, False)
        self._pending: tf.Tensor | None = None
        self._clock = time.monotonic()

    @property
    def state(self) -> TrainState:
        """Where the run is; a rollback replaces it."""
        return self.trainer.state

    def run(self) -> bool:
        """Takes all steps; returns whether the run reached its end, with the last evaluation and samples.

        Everything up to the last step is saved then.

        Raises:
          TrainError: training diverged, and `on_nan` does not roll back, or that did not help.
        """
        if self.config.on_nan == "rollback" and not self.manager.path:
            self.manager.save()  # so that there always is one to roll back to
        while True:
            try:
                finished = self._steps()
                self._save_last()
                return finished and self._finish()
            except DivergedError as fault:
                self._recover(fault)

    def _steps(self) -> bool:
        self._requests, self._pending = dict.fromkeys(REQUESTS, False), None
        batches, alone = self._batches(), self.workers.size == 1
        self._start_epoch()
        while True:
            # A step's numbers are read after the next one is under way, so that an accelerator never
            # waits; every worker reads the same ones, so all stop and save after the same step.
            full = self.state.epoch_step + (self._pending is not None) >= self._epoch_steps
            if full or self.state.step >= self.total or (alone and self.signals.asked):
                self._count()
                if self._stop_requested() or (full and not self._end_epoch()):
                    return False
                if self.state.step >= self.total:
                    return True
                self._start_epoch()
                continue
            save = self.manager.is_due()
            try:
                x, y = next(batches)
            except Exception:  # a file that vanished, say; see data_loaders.as_data_errors
                self._count()
                if alone:  # of several, one alone cannot save
                    self._save_last()
                raise
            try:
                results = self.trainer.dispatch(x, y, stop=self.signals.asked, save=save)
            finally:
                self._count()  # where the dispatch failed, the step before it may have failed too
            self._pending = results
            commit = self._commit is not None and self.state.step % self.config.commit_steps == 0
            if any(self._requests.values()) or (alone and save) or commit:
                self._count()
                if self._requests["stop"]:
                    return False
                if self._requests["save"]:
                    self._save()
                if self._commit and commit:
                    self._commit()
                self._requests["save"] = False
                self._clock = time.monotonic()

    def _batches(self) -> Any:
        """The batches from where the run is."""
        rank, size = self.workers.rank, self.workers.size
        start, offset = divmod(self.state.n_images, self.batch * size)  # not 0 after another number of workers
        where = {"rank": rank, "size": size, "start": start, "offset": offset}
        return iter(self.data.train_batches(self.batch, **where, seed=self.config.seed))

    def _start_epoch(self) -> None:
        done, seen = self.state.epoch_step, self.state.n_processed - self.state.epoch_start
        self._epoch_steps = done + self.config.steps_left(done, seen, self.workers.size)
        self.log.start_epoch(self._epoch_steps)
        self._clock = time.monotonic()

    def _save(self, *, best: bool = False) -> bool:
        """Writes a checkpoint, unless the disk is full: then says so, and the next is due soon."""
        try:
            self._save_last(best=best)
        except StorageError as error:
            self.manager.postpone()
            self.log.say(f"warning: {error}. The training continues and tries again")
            return False
        return True

    def _save_last(self, *, best: bool = False) -> None:
        """Writes a checkpoint, after all log lines of the steps before it. Raises StorageError."""
        self.workers.on_chief(self.log.settle)
        self.manager.save(best=best)

    def _count(self) -> None:
        """Waits for the step under way, if there is one; adds up its numbers, and what any worker requested with it."""
        if self._pending is None:
            return
        results, self._pending = self._pending, None
        metrics, state, now = self.trainer.read(results), self.state, time.monotonic()
        seconds, self._clock = now - self._clock, now
        state.train_time += seconds
        for name in REQUESTS:
            self._requests[name] |= metrics[name] > 0
        if not metrics["step_ok"]:
            state.skip()
            self.log.say(f"step {int(metrics['step']) + 1} skipped: {diagnosis.describe(metrics)}")
            if state.skipped_in_a_row >= MAX_SKIPS:
                raise DivergedError(f"{MAX_SKIPS} steps in a row had to be skipped", int(metrics["step"]))
            return
        state.add(metrics)
        self.log.took_step(metrics, self.batch * self.workers.size)
        if self.config.verbose:
            self.log.say(f"{state.n_processed} {seconds:.3f} {metrics}")

    def _recover(self, fault: DivergedError) -> None:
        """Rolls back where `on_nan` says so; every worker gets here at the same step.

        Raises:
          TrainError: `on_nan` is not rollback, or that did not help.
        """
        epoch, in_epoch = divmod(fault.step, self.trainer.train_its)
        batch = self.trainer.batch_of(fault.step)
        finding = batch and diagnosis.find_fault(self.trainer.glow, *batch)
        finding = diagnosis.agree(self.workers, finding or None)
        what = f"training diverged in epoch {epoch + 1}, step {in_epoch + 1}: {fault}"
        what += f". First fault: {finding}" if finding else ""
        rollbacks = self.state.rollbacks + 1
        if self.config.on_nan != "rollback" or rollbacks > MAX_ROLLBACKS:
            raise TrainError(f"{what}. {self._advice()}")
        self.manager.restore(self.log.say, diverged=True)
        self.state.rollbacks = rollbacks
        self.log.rewind()
        self.evaluator.forget()
        self.log.say(
            f"{what}. Back to step {self.state.step}, with {ROLLBACK_LR**rollbacks:g} times the learning rate and"
            " fresh noise"
        )

    def _advice(self) -> str:
        """What a user may try."""
        here, saved = self.config.logdir, bool(self.manager.path)
        ways = ["a lower --lr, a longer --epochs_warmup or --clip_grad_norm"]
        ways[0] += f", in a new --logdir with --restore_path {here}" if saved else ", in a new --logdir"
        if saved and self.config.on_nan == "stop":
            ways.insert(0, "--resume --on_nan rollback, from the last checkpoint with a lower learning rate")
        return f"Nothing was saved since the last checkpoint. What may help: {'; or '.join(ways)}"

    def _end_epoch(self) -> bool:
        """Logs, evaluates, draws and closes the epoch; False where a signal arrived."""
        state, config, epoch = self.state, self.config, self.state.epochs_done + 1
        validate = epoch % config.epochs_full_valid == 0
        if validate:
            self.trainer.probe()  # before anything of it is written down
        self.log.trained(epoch)
        best = False
        if validate:
            test = self.evaluator.evaluate(epoch)
            if test is None:
                return False
            best = state.best_loss is None or test["loss"] < state.best_loss
        if epoch in (1, 10) or epoch % config.epochs_full_sample == 0:
            self.evaluator.draw(epoch)
        if self._stop_requested():
            return False
        before = state.best_loss
        if best and test:
            state.best_loss = test["loss"]
        state.close_epoch()
        if validate and not self._save(best=best):
            state.best_loss = before
        if self._commit:
            self._commit()
        return True

    def _finish(self) -> bool:
        """Logs the open epoch, evaluates and draws, unless that was just done."""
        epoch = max(1, self.state.epochs_done)
        if self.state.epoch_step:
            epoch = self.state.epochs_done + 1
            self.log.trained(epoch)
        return self.evaluator.complete(epoch)

    def _stop_requested(self) -> bool:
        return self._requests["stop"] or self.workers.any("stop", flag=self.signals.asked)
