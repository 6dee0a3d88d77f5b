"""The whole of a training run: `train`."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from glow_tf.config import GlowConfig
from glow_tf.saving import save as save_model
from glow_tf.training import checkpoints, distributed, run_folder, setup
from glow_tf.training.config import TrainConfig, TrainError
from glow_tf.training.evaluation import evaluate, sample_grids
from glow_tf.training.interrupt import Stopper
from glow_tf.training.keeper import Keeper
from glow_tf.training.reports import Reports
from glow_tf.training.state import TrainState
from glow_tf.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
      steps: steps taken since its very beginning.
      test: metrics over the whole test set at the end; None where the run was stopped.
      picture: the sample grid at temperature 0.7; None where none was drawn.
      model: folder of the saved model.
      exit_code: 0; 130 after SIGINT, 143 after SIGTERM.
    """

    steps: int
    test: dict[str, float] | None
    picture: Path | None
    model: Path
    exit_code: int


def train(
    model: GlowConfig | Mapping[str, Any],
    config: TrainConfig | Mapping[str, Any],
    data: Any = None,
) -> Result:
    """Trains a model, from nothing or from where the run in `config.logdir` stands.

    Args:
      model: a GlowConfig; or a dict of its fields, where image_size (-1: the problem's own),
        channels and n_y come from the data.
      config: a TrainConfig or a dict of its fields.
      data: a DataSet; default: the one that `config.problem` names.

    Raises:
      ValueError: of one of this project's own kinds, for wrong settings, missing data, a logdir of
        another run, or a loss that is no longer finite; the message is for the user.
    """
    if not isinstance(config, TrainConfig):
        config = TrainConfig.from_dict(config)
    workers = distributed.connect()
    fields = model.to_dict() if isinstance(model, GlowConfig) else dict(model)
    data = data or setup.load_data(config, fields.get("image_size", -1))
    model = model if isinstance(model, GlowConfig) else setup.model_config(fields, data)
    setup.check_data(model, data)
    with Stopper() as stopper:
        return _Run(model, config, data, workers, stopper).run()


class _Run:
    """One process's part of a run."""

    def __init__(
        self,
        model: GlowConfig,
        config: TrainConfig,
        data: Any,
        workers: distributed.Workers,
        stopper: Stopper,
    ) -> None:
        self.config, self.data, self.workers, self.stopper = config, data, workers, stopper
        self.logdir = Path(config.logdir)
        record = setup.record(model, config)
        resuming = workers.on_chief(lambda: run_folder.claim(self.logdir, record, resume=config.resume))
        folder = self.logdir / "checkpoints"
        found = resuming and workers.on_chief(lambda: bool(checkpoints.list_checkpoints(folder)))
        glow = setup.make_model(model, config)
        if not found:
            setup.initialize(glow, config, data, workers)
        self.trainer = Trainer(glow, config, workers)
        self.keeper = Keeper(self.trainer, folder)
        warn = print if workers.is_chief else lambda line: None
        resumed = found and self.keeper.restore(warn)
        size = (model.height, model.breadth)
        self.batch = config.local_batch(config.n_batch_train, *size)
        self.batch_test = config.local_batch(config.n_batch_test, *size)
        self.total = self._total_steps()
        header = {**config.to_dict(), **model.to_dict(), "train_its": self.trainer.train_its}
        header |= {"local_batch_train": self.batch, "local_batch_test": self.batch_test}
        header |= {"n_workers": workers.size}
        self.reports = Reports(self.trainer, self.logdir, total=self.total, header=header, resumed=resumed)
        self._wishes = {"stop": False, "save": False}
        self._clock = time.monotonic()
        self._pictures: dict[Path, Any] = {}
        self._test: tuple[int, dict[str, float]] | None = None  # step, metrics

    @property
    def state(self) -> TrainState:
        """The trainer's counters."""
        return self.trainer.state

    def run(self) -> Result:
        """Steps and epochs until the end, or until a signal."""
        self.reports.begin(self.data.name, self.batch, self.logdir)
        optimizer = self.trainer.optimizer
        if optimizer.beta2 < optimizer.beta1:
            self.reports.say(
                f"warning: beta2 is {optimizer.beta2:.3g}, below beta1: a weight whose gradient vanishes for some steps"
                f" takes ever longer ones. Raise --polyak_epochs ({self.config.polyak_epochs} now)"
            )
        completed = self._steps() and self._last_words()
        self.reports.progress.end_epoch()
        self.keeper.save()
        model, average = self.logdir / "model", self.trainer.average if self.config.polyak else None
        self.workers.on_chief(lambda: save_model(self.trainer.glow, model, average))
        self.reports.flush()
        test = self._test[1] if completed and self._test else None
        picture = next((path for path in self._pictures if path.stem.endswith("_sample_4")), None)
        if test:
            which = "the Polyak average" if self.config.polyak else "the last weights"
            self.reports.say(
                f"test bits/dim {test['bits_x']:.4f} with {which} after {self.state.step} steps;"
                f" samples: {picture}; model: {model}"
            )
        else:
            why = self.stopper.signal.name if self.stopper.signal else "a signal to another worker"
            self.reports.say(
                f"stopped by {why} after step {self.state.step}; saved {self.keeper.path};"
                " the same command with --resume goes on"
            )
        code = self.stopper.exit_code or (0 if test else 143)
        return Result(self.state.step, test, picture, model, code)

    def _steps(self) -> bool:
        """The main loop; whether it came to its end."""
        batches = iter(self._batches())
        pending: tf.Tensor | None = None
        self.reports.start_epoch()
        self._clock = time.monotonic()
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
                self.reports.start_epoch()
                self._clock = time.monotonic()
                continue
            x, y = next(batches)
            wanted = self.keeper.wanted()
            try:
                results = self.trainer.dispatch(x, y, stop=self.stopper.asked, save=wanted)
            except tf.errors.InvalidArgumentError as error:
                if "not invertible" not in str(error):
                    raise
                raise self._diverged("a 1x1 convolution is not invertible any more") from None
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
            f" with --restore_path {self.logdir} where that has a checkpoint"
        )

    def _end_epoch(self) -> bool:
        """Logs, evaluates, draws and closes the epoch; False where a signal came meanwhile."""
        state, config, epoch = self.state, self.config, self.state.epochs_done + 1
        self.reports.trained(epoch)
        validate = epoch % config.epochs_full_valid == 0
        best = False
        if validate:
            test = self._evaluate(epoch)
            if test is None:
                return False
            best = state.best_loss is None or test["loss"] < state.best_loss
        if epoch in (1, 10) or epoch % config.epochs_full_sample == 0:
            self._draw(epoch)
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
        if self._test is None or self._test[0] != self.state.step:
            if self._evaluate(epoch) is None:
                return False
        if not any(path.name.startswith(f"epoch_{epoch}_") for path in self._pictures):
            self._draw(epoch)
        return True

    def _evaluate(self, epoch: int) -> dict[str, float] | None:
        with self.trainer.averaged(use=self.config.polyak):
            test = evaluate(
                self.trainer,
                self.data,
                self.batch_test,
                max_batches=1 if self.config.dry_run else None,
                stop=lambda: self.stopper.asked,
            )
        if test is not None:
            self._test = (self.state.step, test)
            self.reports.tested(epoch, test)
        return test

    def _draw(self, epoch: int) -> None:
        """Rank 0 draws the sample grids of this epoch."""
        if not self.workers.is_chief:
            return
        config = self.trainer.glow.config
        rows = 10 if max(config.height, config.breadth) <= 64 else 4
        with self.trainer.averaged(use=self.config.polyak):
            self._pictures = sample_grids(
                self.trainer,
                self.logdir,
                epoch,
                self.batch,
                rows=1 if self.config.dry_run else rows,
                stop=lambda: self.stopper.asked,
            )
        self.reports.drawn(self._pictures)

    def _batches(self) -> Any:
        rank, size = self.workers.rank, self.workers.size
        start = self.state.n_images // (self.batch * size)
        return self.data.train_batches(self.batch, rank=rank, size=size, start=start, seed=self.config.seed)

    def _total_steps(self) -> int:
        if self.config.dry_run:
            return 1
        steps = self.config.epochs * self.trainer.train_its
        return min(steps, self.config.steps) if self.config.steps else steps

    def _stop_asked(self) -> bool:
        return self._wishes["stop"] or self.workers.any("stop", flag=self.stopper.asked)
