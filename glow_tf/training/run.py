"""The whole of a training run: `train`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import data_loaders
from glow_tf.config import GlowConfig
from glow_tf.model import Glow
from glow_tf.storage.models import save as save_model
from glow_tf.training import checkpoints, distributed, run_folder, setup
from glow_tf.training.config import TrainConfig
from glow_tf.training.elastic import Committed
from glow_tf.training.files import storing
from glow_tf.training.inspection import Inspection
from glow_tf.training.interrupt import Stopper
from glow_tf.training.keeper import Keeper
from glow_tf.training.loop import Loop
from glow_tf.training.reports import Reports
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
    with Stopper() as stopper, workers.noticing_loss(), data_loaders.as_data_errors():
        return _run(model, config, data, workers, stopper)


def _run(model: GlowConfig, config: TrainConfig, data: Any, workers: distributed.Workers, stopper: Stopper) -> Result:
    """One process's part of a run."""
    committed = Committed(workers, lambda: Trainer(setup.make_model(model, config), config, workers))
    logdir, settings, resume = Path(config.logdir), setup.record(model, config), config.resume

    def attempt(commit: Callable[[], None] | None) -> Result:
        nonlocal resume
        with contextlib.ExitStack() as held:
            workers.on_chief(lambda: held.enter_context(run_folder.locked(logdir)))
            going_on = committed.trainer is not None
            resuming = workers.on_chief(lambda: run_folder.claim(logdir, settings, resume=resume or going_on))
            resume = True  # another attempt finds the folder claimed by this one
            if committed.trainer is None:
                keeper = _begin(model, config, data, workers, resuming=resuming)
                committed.trainer = keeper.trainer
            else:
                committed.trainer.rescale()
                keeper = Keeper(committed.trainer, logdir / "checkpoints")
            if commit:
                commit()
            return _train(keeper, data, stopper, commit, resumed=going_on or bool(keeper.path))

    return workers.until_done(attempt, committed)


def _begin(
    model: GlowConfig, config: TrainConfig, data: Any, workers: distributed.Workers, *, resuming: bool
) -> Keeper:
    """The keeper of a trainer that is before its first step, or where its last checkpoint stands."""
    folder = Path(config.logdir) / "checkpoints"
    found = resuming and workers.on_chief(lambda: bool(checkpoints.list_checkpoints(folder)))
    glow = setup.make_model(model, config)
    if not found:
        if workers.is_chief:
            print(f"{data.name}: {'loading' if config.restore_path else 'initialising'} weights", flush=True)  # a while
        setup.initialize(glow, config, data, workers)
    keeper = Keeper(Trainer(glow, config, workers), folder)
    if found:
        keeper.restore(print if workers.is_chief else lambda line: None)
    return keeper


def _train(keeper: Keeper, data: Any, stopper: Stopper, commit: Callable[[], None] | None, *, resumed: bool) -> Result:
    """The run from where it stands to its end."""
    trainer, config, workers = keeper.trainer, keeper.trainer.config, keeper.trainer.workers
    logdir, total, header = Path(config.logdir), _total_steps(trainer), _header(trainer)
    reports = Reports(trainer, logdir, total=total, header=header, resumed=resumed)
    inspection = Inspection(trainer, data, reports, stopper)
    batch = header["local_batch_train"]
    reports.begin(data.name, batch, logdir)
    _warn_of_short_memory(trainer, reports)
    loop = Loop(trainer, data, keeper, reports, inspection, stopper, batch=batch, total=total, commit=commit)
    try:
        completed = loop.run()
    finally:
        reports.progress.end_epoch()
        reports.flush()
    where, average = logdir / "model", trainer.average if config.polyak else None
    workers.on_chief(lambda: _save_model(trainer.glow, where, average))
    reports.flush()
    if data.skipped:
        reports.say(f"{data.skipped} damaged images were skipped")
    test, steps = inspection.test if completed else None, trainer.state.step
    if test:
        which = "the Polyak average" if config.polyak else "the last weights"
        reports.say(
            f"test bits/dim {test['bits_x']:.4f} with {which} after {steps} steps;"
            f" samples: {inspection.picture}; model: {where}"
        )
    else:
        why = stopper.signal.name if stopper.signal else "a signal to another worker"
        reports.say(f"stopped by {why} after step {steps}; saved {keeper.path}; the same command with --resume goes on")
    exit_code = stopper.exit_code or (0 if test else 143)
    workers.on_chief(lambda: run_folder.end(logdir, exit_code))
    return Result(steps, test, inspection.picture, where, exit_code)


def _save_model(glow: Glow, folder: Path, average: dict[str, Any] | None) -> None:
    with storing(folder):
        save_model(glow, folder, average)


def _total_steps(trainer: Trainer) -> int:
    """Steps from the run's very beginning to its end, if no more workers come or go."""
    config, state = trainer.config, trainer.state
    if config.dry_run:
        return 1
    left = config.steps_left(state.epoch_step, state.n_processed - state.epoch_start, trainer.workers.size)
    steps = state.step + left + (config.epochs - state.epochs_done - 1) * trainer.train_its
    return min(steps, config.steps) if config.steps else steps


def _header(trainer: Trainer) -> dict[str, Any]:
    """The hyper-parameters, as the first line of the logs has them."""
    config, model = trainer.config, trainer.glow.config
    size = (model.height, model.image_width)
    return {
        **config.to_dict(),
        **model.to_dict(),
        "train_its": trainer.train_its,
        "local_batch_train": config.local_batch(config.n_batch_train, *size),
        "local_batch_test": config.local_batch(config.n_batch_test, *size),
        "n_workers": trainer.workers.size,
    }


def _warn_of_short_memory(trainer: Trainer, reports: Reports) -> None:
    optimizer = trainer.optimizer
    if optimizer.beta2 < optimizer.beta1:
        reports.say(
            f"warning: beta2 is {optimizer.beta2:.3g}, below beta1: a weight whose gradient vanishes for some steps"
            f" takes ever longer ones. Raise --polyak_epochs ({trainer.config.polyak_epochs} now)"
        )
