"""The loop of a training run: steps, epochs, and what ends them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from glow_tf.training import diagnosis
from glow_tf.training.config import StorageError, TrainError
from glow_tf.training.health import LOWER, MOST_ROLLBACKS, MOST_SKIPS, DivergedError, describe
from glow_tf.training.inspection import Inspection
from glow_tf.training.interrupt import Stopper
from glow_tf.training.keeper import Keeper
from glow_tf.training.reports import Reports
from glow_tf.training.state import TrainState
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
      commit: of elastic jobs; called every `commit_steps` and after every epoch, on all workers at the same step.
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
        commit: Callable[[], None] | None = None,
    ) -> None:
        self.trainer, self.data, self.keeper, self.reports = trainer, data, keeper, reports
        self.inspection, self.stopper, self.batch, self.total = inspection, stopper, batch, total
        self.config, self.workers = trainer.config, trainer.workers
        self._commit = commit
        self._wishes = {"stop": False, "save": False}
        self._clock = time.monotonic()

    @property
    def state(self) -> TrainState:
        """Where the run stands; a rollback replaces it."""
        return self.trainer.state

    def run(self) -> bool:
        """Steps and epochs; whether they came to their end, with the last evaluation and pictures.

        Everything up to the last step is then saved.

        Raises:
          TrainError: training diverged, and `on_nan` has no other way.
        """
        if self.config.on_nan == "rollback" and not self.keeper.path:
            self.keeper.save()  # so that there is always one to go back to
        while True:
            try:
                finished = self._steps()
                self._save_last()
                return finished and self._last_words()
            except DivergedError as fault:
                self._recover(fault)

    def _steps(self) -> bool:
        self._wishes = dict.fromkeys(self._wishes, False)
        batches = self._batches()
        pending: tf.Tensor | None = None
        self._start_epoch()
        while True:
            # A step's numbers are read after the next one is under way, so that an accelerator never
            # waits; every worker reads the same ones, so all stop and save after the same step.
            taken = self.state.epoch_step + (pending is not None)
            full = taken >= self._epoch_steps
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
            try:
                x, y = next(batches)
            except Exception:  # a file that vanished, say; see data_loaders.as_data_errors
                if pending is not None:
                    self._count(pending)
                if alone:  # of several, one alone cannot save
                    self._save_last()
                raise
            try:
                results = self.trainer.dispatch(x, y, stop=self.stopper.asked, save=wanted)
            except DivergedError:
                if pending is not None:
                    self._count(pending)  # it comes first, and may say the same
                raise
            if pending is not None:
                self._count(pending)
            pending = results
            due = self._commit is not None and self.state.step % self.config.commit_steps == 0
            if any(self._wishes.values()) or (alone and wanted) or due:
                self._count(pending)
                pending = None
                if self._wishes["stop"]:
                    return False
                if self._wishes["save"]:
                    self._save()
                if self._commit and due:
                    self._commit()
                self._wishes["save"] = False
                self._clock = time.monotonic()

    def _batches(self) -> Any:
        """The batches from where the run stands."""
        rank, size = self.workers.rank, self.workers.size
        start, offset = divmod(self.state.n_images, self.batch * size)  # a rest where there were other workers before
        where = {"rank": rank, "size": size, "start": start, "offset": offset}
        return iter(self.data.train_batches(self.batch, **where, seed=self.config.seed))

    def _start_epoch(self) -> None:
        done, seen = self.state.epoch_step, self.state.n_processed - self.state.epoch_start
        self._epoch_steps = done + self.config.steps_left(done, seen, self.workers.size)
        self.reports.start_epoch(self._epoch_steps)
        self._clock = time.monotonic()

    def _save(self, *, best: bool = False) -> bool:
        """Writes a checkpoint, unless the disk is full: then says so, and the next is due soon."""
        try:
            self._save_last(best=best)
        except StorageError as error:
            self.keeper.postpone()
            self.reports.say(f"warning: {error}. The training goes on and tries again")
            return False
        return True

    def _save_last(self, *, best: bool = False) -> None:
        """Writes a checkpoint, after every log line that it stands for. Raises StorageError."""
        self.workers.on_chief(self.reports.settle)
        self.keeper.save(best=best)

    def _count(self, results: tf.Tensor) -> None:
        """Takes a step's numbers in, and what any worker wished at that step."""
        metrics, state, now = self.trainer.read(results), self.state, time.monotonic()
        seconds, self._clock = now - self._clock, now
        state.train_time += seconds
        for wish in self._wishes:
            self._wishes[wish] |= metrics[wish] > 0
        if not metrics["fine"]:
            state.skip()
            self.reports.say(f"step {int(metrics['step']) + 1} skipped: {describe(metrics)}")
            if state.skipped_in_a_row >= MOST_SKIPS:
                raise DivergedError(f"{MOST_SKIPS} steps in a row had to be skipped", int(metrics["step"]))
            return
        state.add(metrics)
        self.reports.progress.step(state, metrics, self.batch * self.workers.size)
        if self.config.verbose:
            self.reports.say(f"{state.n_processed} {seconds:.3f} {metrics}")

    def _recover(self, fault: DivergedError) -> None:
        """Rolls back where `on_nan` says so; every worker comes here at the same step.

        Raises:
          TrainError: that is not wanted, or did not help.
        """
        epoch, in_epoch = divmod(fault.step, self.trainer.train_its)
        batch = self.trainer.batch_of(fault.step)
        finding = batch and diagnosis.find_fault(self.trainer.glow, *batch)
        finding = diagnosis.agree(self.workers, finding or None)
        what = f"training diverged in epoch {epoch + 1}, step {in_epoch + 1}: {fault}"
        what += f". First fault: {finding}" if finding else ""
        rollbacks = self.state.rollbacks + 1
        if self.config.on_nan != "rollback" or rollbacks > MOST_ROLLBACKS:
            raise TrainError(f"{what}. {self._advice()}")
        self.keeper.restore(self.reports.say)
        self.state.rollbacks = rollbacks
        self.reports.rewind()
        self.inspection.forget()
        self.reports.say(
            f"{what}. Back to step {self.state.step}, with {LOWER**rollbacks:g} times the learning rate and fresh noise"
        )

    def _advice(self) -> str:
        """What a user may try."""
        here, saved = self.config.logdir, bool(self.keeper.path)
        ways = ["a lower --lr, a longer --epochs_warmup or --clip_grad_norm"]
        ways[0] += f", in a new --logdir with --restore_path {here}" if saved else ", in a new --logdir"
        if saved and self.config.on_nan == "stop":
            ways.insert(0, "--resume --on_nan rollback, which goes on from the last checkpoint more slowly")
        return f"Nothing was saved since the last checkpoint. What may help: {'; or '.join(ways)}"

    def _end_epoch(self) -> bool:
        """Logs, evaluates, draws and closes the epoch; False where a signal came meanwhile."""
        state, config, epoch = self.state, self.config, self.state.epochs_done + 1
        validate = epoch % config.epochs_full_valid == 0
        if validate:
            self.trainer.probe()  # before anything of it is written down
        self.reports.trained(epoch)
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
        before = state.best_loss
        if best and test:
            state.best_loss = test["loss"]
        state.close_epoch()
        if validate and not self._save(best=best):
            state.best_loss = before
        if self._commit:
            self._commit()
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
