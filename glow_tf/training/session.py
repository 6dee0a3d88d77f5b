"""The whole of a training run: `train`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

import data_loaders
from glow_tf.config import GlowConfig
from glow_tf.flow.jit import check_jit, resolve_jit
from glow_tf.flow.memory import as_memory, spelled
from glow_tf.runtime import SignalHandler, is_elastic
from glow_tf.storage import checkpoints
from glow_tf.storage.files import locked, storage_errors
from glow_tf.storage.models import save as save_model
from glow_tf.training import logdir as folders
from glow_tf.training import setup
from glow_tf.training.checkpoints import CheckpointManager, ElasticState
from glow_tf.training.config import TrainConfig
from glow_tf.training.evaluation import Evaluator
from glow_tf.training.logging import RunLogger
from glow_tf.training.loop import Loop
from glow_tf.training.trainer import Trainer
from glow_tf.training.workers import Workers, connect


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run produced.

    Attributes:
      steps: steps taken since its very beginning.
      test: metrics over the whole test set at the end; None where the run was stopped.
      samples: the sample grid at temperature 0.7; None where none was drawn.
      model: folder of the saved model.
      exit_code: 0; 130 after SIGINT, 143 after SIGTERM.
    """

    steps: int
    test: dict[str, float] | None
    samples: Path | None
    model: Path
    exit_code: int


def train(
    model: GlowConfig | Mapping[str, Any],
    config: TrainConfig | Mapping[str, Any],
    data: Any = None,
) -> Result:
    """Trains a model, from the beginning or from where the run in `config.logdir` stopped.

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
    workers = connect()
    fields, settings = (model.to_dict() if isinstance(model, GlowConfig) else dict(model)), config.to_dict()
    if not is_elastic():  # rank 0's, because on another machine --resume may have found no config.json
        fields, settings = workers.broadcast_object([fields, settings])
    config = TrainConfig.from_dict(settings)
    check_jit(resolve_jit(config.jit, config.precision), config.precision)  # before the data is looked at
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    data = data or setup.load_data(config, fields.get("image_size", -1))
    if config.n_train == -1:
        config = dataclasses.replace(config, n_train=data.n_train)
    model = GlowConfig.from_dict(fields) if isinstance(model, GlowConfig) else setup.model_config(fields, data)
    setup.check_data(model, data)
    with contextlib.ExitStack() as held:
        held.enter_context(workers.detecting_lost_workers())
        held.enter_context(data_loaders.as_data_errors())
        held.enter_context(setup.memory_errors(model, config))
        return _run(model, config, data, workers, held.enter_context(SignalHandler()))


def _run(model: GlowConfig, config: TrainConfig, data: Any, workers: Workers, signals: SignalHandler) -> Result:
    """One process's part of a run."""
    elastic = ElasticState(workers, lambda: Trainer(setup.make_model(model, config), config, workers))
    logdir, settings, resume = Path(config.logdir), setup.record(model, config, data), config.resume

    def attempt(commit: Callable[[], None] | None) -> Result:
        nonlocal resume
        with contextlib.ExitStack() as held:
            workers.on_chief(lambda: held.enter_context(locked(logdir, "logdir")))
            continuing, room = elastic.trainer is not None, setup.least_room(workers)

            def claim() -> tuple[str, bool]:
                held_run = folders.check_claim(logdir, settings, resume=resume or continuing)
                if elastic.trainer is not None:  # its own memory would count as taken by others
                    settings["memory"] = spelled(elastic.trainer.glow.memory)
                else:
                    recorded = None
                    if held_run is not None:
                        if held_run["train"].get("memory") == config.memory:  # it was asked for the same
                            recorded = held_run.get("memory")
                        if changed := folders.changed_data(held_run, settings):
                            print(f"warning: {data.name}: {changed}", flush=True)
                    choice = setup.choose_memory(model, config, workers, room, recorded)
                    print(choice.line, flush=True)
                    if choice.warning:
                        print(f"warning: {choice.warning}", flush=True)
                    settings["memory"] = spelled(choice.memory)
                folders.claim(logdir, settings, resuming=held_run is not None)
                return settings["memory"], held_run is not None

            memory, resuming = workers.on_chief(claim)
            resume = True  # another attempt finds the folder claimed by this one
            if elastic.trainer is None:
                manager = _begin(model, config, data, workers, memory=memory, resuming=resuming)
                elastic.trainer = manager.trainer
            else:
                elastic.trainer.glow.memory = as_memory(memory)  # of one that joined
                elastic.trainer.rescale()
                manager = CheckpointManager(elastic.trainer, logdir / "checkpoints")
            if commit:
                commit()
            return _train(manager, data, signals, commit, resumed=continuing or bool(manager.path))

    return workers.run_elastic(attempt, elastic)


def _begin(
    model: GlowConfig, config: TrainConfig, data: Any, workers: Workers, *, memory: str, resuming: bool
) -> CheckpointManager:
    """The manager of a trainer that is before its first step, or where its last checkpoint is."""
    folder = Path(config.logdir) / "checkpoints"
    found = resuming and workers.on_chief(lambda: bool(checkpoints.list_checkpoints(folder)))
    glow = setup.make_model(model, config, as_memory(memory))
    if not found:
        if workers.is_chief:  # it takes a while
            print(f"{data.name}: {'loading' if config.restore_path else 'initialising'} weights", flush=True)
        setup.initialize(glow, config, data, workers)
    manager = CheckpointManager(Trainer(glow, config, workers), folder)
    if found:
        manager.restore(print if workers.is_chief else lambda line: None)
    return manager


def _train(
    manager: CheckpointManager,
    data: Any,
    signals: SignalHandler,
    commit: Callable[[], None] | None,
    *,
    resumed: bool,
) -> Result:
    """The run from where it is to its end."""
    trainer, config, workers = manager.trainer, manager.trainer.config, manager.trainer.workers
    logdir, where = Path(config.logdir), Path(config.logdir) / "model"
    log = RunLogger(trainer, data.name, resumed=resumed)
    evaluator = Evaluator(trainer, data, log, signals)
    try:
        completed = Loop(manager, data, log, evaluator, signals, commit).run()
    finally:
        log.end_epoch()
        log.flush()
    with storage_errors(where):
        workers.on_chief(lambda: save_model(trainer.glow, where, trainer.average if config.polyak else None))
    log.flush()
    if data.skipped:
        log.say(f"{data.skipped} damaged images were skipped")
    test, steps = evaluator.test if completed else None, trainer.state.step
    if test:
        log.end(test, evaluator.samples)
    else:
        why = signals.signal.name if signals.signal else "a signal to another worker"
        log.say(f"stopped by {why} after step {steps}; saved {manager.path}; the same command with --resume resumes it")
    exit_code = signals.exit_code or (0 if test else 143)
    workers.on_chief(lambda: folders.end(logdir, exit_code))
    return Result(steps, test, evaluator.samples, where, exit_code)
