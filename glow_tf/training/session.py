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
from glow_tf.model import Glow
from glow_tf.runtime import SignalHandler
from glow_tf.storage import checkpoints
from glow_tf.storage.files import locked, storage_errors
from glow_tf.storage.models import save as save_model
from glow_tf.training import logdir as folders
from glow_tf.training.checkpoints import CheckpointManager, ElasticState
from glow_tf.training.config import TrainConfig, TrainError
from glow_tf.training.evaluation import Evaluator
from glow_tf.training.logging import RunLogger
from glow_tf.training.loop import Loop
from glow_tf.training.trainer import Trainer
from glow_tf.training.workers import Workers, connect

_NOISE_STREAM = 0x696E6974


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
    fields = model.to_dict() if isinstance(model, GlowConfig) else dict(model)
    data = data or _load_data(config, fields.get("image_size", -1))
    model = model if isinstance(model, GlowConfig) else _model_config(fields, data)
    _check_data(model, data)
    with SignalHandler() as signals, workers.detecting_lost_workers(), data_loaders.as_data_errors():
        return _run(model, config, data, workers, signals)


def _run(model: GlowConfig, config: TrainConfig, data: Any, workers: Workers, signals: SignalHandler) -> Result:
    """One process's part of a run."""
    elastic = ElasticState(workers, lambda: Trainer(_make_model(model, config), config, workers))
    logdir, settings, resume = Path(config.logdir), _record(model, config), config.resume

    def attempt(commit: Callable[[], None] | None) -> Result:
        nonlocal resume
        with contextlib.ExitStack() as held:
            workers.on_chief(lambda: held.enter_context(locked(logdir, "logdir")))
            continuing = elastic.trainer is not None
            resuming = workers.on_chief(lambda: folders.claim(logdir, settings, resume=resume or continuing))
            resume = True  # another attempt finds the folder claimed by this one
            if elastic.trainer is None:
                manager = _begin(model, config, data, workers, resuming=resuming)
                elastic.trainer = manager.trainer
            else:
                elastic.trainer.rescale()
                manager = CheckpointManager(elastic.trainer, logdir / "checkpoints")
            if commit:
                commit()
            return _train(manager, data, signals, commit, resumed=continuing or bool(manager.path))

    return workers.run_elastic(attempt, elastic)


def _begin(model: GlowConfig, config: TrainConfig, data: Any, workers: Workers, *, resuming: bool) -> CheckpointManager:
    """The manager of a trainer that is before its first step, or where its last checkpoint is."""
    folder = Path(config.logdir) / "checkpoints"
    found = resuming and workers.on_chief(lambda: bool(checkpoints.list_checkpoints(folder)))
    glow = _make_model(model, config)
    if not found:
        if workers.is_chief:  # it takes a while
            print(f"{data.name}: {'loading' if config.restore_path else 'initialising'} weights", flush=True)
        initialize(glow, config, data, workers)
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
        log.progress.end_epoch()
        log.flush()
    with storage_errors(where):
        workers.on_chief(lambda: save_model(trainer.glow, where, trainer.average if config.polyak else None))
    log.flush()
    if data.skipped:
        log.say(f"{data.skipped} damaged images were skipped")
    test, steps = evaluator.test if completed else None, trainer.state.step
    if test:
        which = "the Polyak average" if config.polyak else "the last weights"
        log.say(
            f"test bits/dim {test['bits_x']:.4f} with {which} after {steps} steps;"
            f" samples: {evaluator.samples}; model: {where}"
        )
    else:
        why = signals.signal.name if signals.signal else "a signal to another worker"
        log.say(f"stopped by {why} after step {steps}; saved {manager.path}; the same command with --resume resumes it")
    exit_code = signals.exit_code or (0 if test else 143)
    workers.on_chief(lambda: folders.end(logdir, exit_code))
    return Result(steps, test, evaluator.samples, where, exit_code)


def _record(model: GlowConfig, train: TrainConfig) -> dict[str, Any]:
    """What config.json of a run holds."""
    return {
        "model": model.to_dict(),
        "train": train.to_dict(),
        "memory": train.resolve_memory(),
        "weights in model/": "Polyak average" if train.polyak else "last step",
        "tensorflow": tf.__version__,
    }


def _load_data(config: TrainConfig, image_size: Any) -> Any:
    """The DataSet that the configuration names."""
    return data_loaders.load(
        config.problem,
        data_dir=config.image_dir or config.data_dir,
        image_size=image_size,
        dal=config.dal,
        category=config.category,
        n_test=config.n_test,
        seed=config.seed,
        workers=config.pmap,
        readers=config.fmap,
        skip_corrupt=config.skip_corrupt,
    )


def _model_config(fields: Mapping[str, Any], data: Any) -> GlowConfig:
    """The model for this data: its image size, channels and classes."""
    height, width, channels = data.image_shape
    size = height if height == width else (height, width)
    return GlowConfig.from_dict({**fields, "image_size": size, "channels": channels, "n_y": data.n_y})


def _check_data(config: GlowConfig, data: Any) -> None:
    """Raises TrainError unless the model fits the data."""
    if config.image_shape != tuple(data.image_shape):
        raise TrainError(f"the model is for images {config.image_shape}, {data.name} has {tuple(data.image_shape)}")
    if config.ycond and config.n_y != data.n_y:
        raise TrainError(f"the model is for {config.n_y} classes, {data.name} has {data.n_y}")


def _make_model(config: GlowConfig, train: TrainConfig) -> Glow:
    """The model, with its raw initial weights."""
    return Glow(config, memory=train.resolve_memory(), precision=train.precision, seed=train.seed)


def initialize(glow: Glow, train: TrainConfig, data: Any, workers: Workers) -> None:
    """Weights to start from: those of `restore_path`, else data-dependent ones; rank 0's on every worker."""

    def start() -> None:
        if train.restore_path:
            _load_weights(glow, train.restore_path)
            return
        height, width = glow.config.height, glow.config.image_width
        n = train.n_batch_train if train.dry_run else train.n_batch_init
        x, y = data.init_batch(train.local_batch(n, height, width), seed=train.seed)
        glow.initialize(x, y, glow.draw_noise(x.shape, [train.seed & 0x7FFFFFFF, _NOISE_STREAM]))

    workers.on_chief(start)
    workers.broadcast(list(glow.named_variables().values()))


def _load_weights(glow: Glow, path: str) -> None:
    """Loads weights: a run's folder, a checkpoint, a folder of glow_tf.save, or a TF1 checkpoint.

    Raises:
      ValueError: there is nothing of that kind, or it does not fit the model.
    """
    if Path(f"{path}.index").is_file():
        from glow_tf.storage.openai import load_openai_checkpoint  # rarely needed

        variables = load_openai_checkpoint(path, glow.config).named_variables()
        for name, variable in glow.named_variables().items():
            variable.assign(variables[name])
        return
    newest_first = checkpoints.list_checkpoints(Path(path) / "checkpoints")[::-1]
    for folder in (Path(path), *newest_first, Path(path) / "model"):
        if (folder / "manifest.json").is_file():
            try:
                checkpoints.verify(folder)
            except checkpoints.CheckpointError as error:
                if folder not in newest_first:
                    raise
                print(f"checkpoint skipped: {error}")
                continue
        if (folder / "weights.npz").is_file():
            checkpoints.read_variables(folder / "weights.npz", glow.named_variables())
            return
    raise TrainError(f"restore_path {path}: no run, checkpoint or saved model, and no TF1 checkpoint {path}.index")
