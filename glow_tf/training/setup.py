"""What there is before the first step: data, model, initial weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import data_loaders
from glow_tf.config import CONTEXTS, GlowConfig
from glow_tf.flow.budget import Demand
from glow_tf.flow.jit import resolve_jit
from glow_tf.flow.memory import Memory
from glow_tf.flow.room import Choice, Room, choose, device_room
from glow_tf.model import Glow
from glow_tf.storage import checkpoints
from glow_tf.training.config import TrainConfig, TrainError
from glow_tf.training.logdir import TRAINING_IMAGES
from glow_tf.training.workers import Workers

_NOISE_STREAM = 0x696E6974


def record(model: GlowConfig, train: TrainConfig, data: Any) -> dict[str, Any]:
    """What config.json of a run holds."""
    return {
        "model": model.to_dict(),
        "train": train.to_dict(),
        TRAINING_IMAGES: data.n_train,
        "weights in model/": "Polyak average" if train.polyak else "last step",
        "tensorflow": tf.__version__,
    }


def load_data(config: TrainConfig, image_size: Any) -> Any:
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
        **({"crop": config.crop} if config.crop else {}),
    )


def model_config(fields: Mapping[str, Any], data: Any) -> GlowConfig:
    """The model for this data: its image size, channels and classes."""
    height, width, channels = data.image_shape
    size = height if height == width else (height, width)
    return GlowConfig.from_dict({**fields, "image_size": size, "channels": channels, "n_y": data.n_y})


def check_data(config: GlowConfig, data: Any) -> None:
    """Raises TrainError unless the model fits the data."""
    if config.image_shape != tuple(data.image_shape):
        raise TrainError(f"the model is for images {config.image_shape}, {data.name} has {tuple(data.image_shape)}")
    if config.takes_labels and config.n_y != data.n_y:
        raise TrainError(f"the model is for {config.n_y} classes, {data.name} has {data.n_y}")
    if config.context == "label" and data.n_y < 2:
        raise TrainError(f"context 'label': {data.name} has no classes")
    if config.context == "none" and config.context_channels:
        raise TrainError(
            f"context_channels={config.context_channels}: a run makes its context of its images, so it needs a"
            f" context of {', '.join(CONTEXTS[1:])}; others are trained by Trainer.step(context=)"
        )


def least_room(workers: Workers) -> Room:
    """That of the worker with the least; call it on all workers at once."""
    room = device_room()
    rooms = np.zeros([workers.size, 3], np.float64)
    rooms[workers.rank] = room[:3]
    rooms = np.asarray(workers.sum(tf.constant(rooms), "rooms"))
    has, free, held = (int(number) for number in min(rooms, key=lambda row: row[1] - row[2]))
    return room._replace(has=has, free=free, held=held)


def choose_memory(model: GlowConfig, train: TrainConfig, workers: Workers, room: Room, recorded: str | None) -> Choice:
    """What this run keeps for the gradient: `recorded` by the run that it resumes, or what `memory` comes to here.

    Raises:
      MemoryBudgetError: the model cannot be trained here; the message says what to change.
    """
    initial = 0 if train.restore_path or recorded else train.local_batch(train.n_batch_init, model)
    demand = Demand(
        model,
        train.local_batch(train.n_batch_train, model),
        train.precision,
        initial_batch=initial,
        whole_run=True,
        test_batch=train.local_batch(train.n_batch_test, model),
        waits=workers.size > 1 or train.on_nan == "skip" or train.clip_grad_norm > 0,
        jit=resolve_jit(train.jit, train.precision),
    )
    if recorded:
        return choose(demand, recorded, room, "as when the run began", refuse=False)  # it did fit
    return choose(demand, train.resolve_memory(), room)


@contextlib.contextmanager
def memory_errors(model: GlowConfig, train: TrainConfig) -> Iterator[None]:
    """Within it, running out of memory raises a TrainError of one line that says what to change."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        batch = train.local_batch(train.n_batch_train, model)
        said = (getattr(error, "message", None) or str(error)).strip().splitlines() or ["out of memory"]
        raise TrainError(
            f"out of memory with {batch} image(s) a step and --memory {train.resolve_memory()} ({said[0]}). What helps:"
            " a SIZE below what the device has as --memory, or reversible; a smaller --n_batch_train, --n_batch_test or"
            " --n_batch_init; --precision bfloat16; smaller images, a lower --depth or --width"
        ) from None


def make_model(config: GlowConfig, train: TrainConfig, memory: Memory = "reversible") -> Glow:
    """The model, with its raw initial weights."""
    jit = resolve_jit(train.jit, train.precision)
    return Glow(config, memory=memory, precision=train.precision, seed=train.seed, jit=jit)


def initialize(glow: Glow, train: TrainConfig, data: Any, workers: Workers) -> None:
    """Weights to start from: those of `restore_path`, else data-dependent ones; rank 0's on every worker."""

    def start() -> None:
        if train.restore_path:
            load_weights(glow, train.restore_path)
            return
        n = train.n_batch_train if train.dry_run else train.n_batch_init
        x, y = data.init_batch(train.local_batch(n, glow.config), seed=train.seed)
        glow.initialize(x, y, glow.draw_noise(x.shape, [train.seed & 0x7FFFFFFF, _NOISE_STREAM]))

    workers.on_chief(start)
    workers.broadcast(list(glow.named_variables().values()))


def load_weights(glow: Glow, path: str, *, average: bool = False) -> None:
    """Loads weights: a run's folder, a checkpoint, a folder of glow_tf.save, or a TF1 checkpoint.

    Args:
      glow: the model.
      path: where they are.
      average: take the Polyak average of a run or checkpoint.

    Raises:
      ValueError: there is nothing of that kind, or it does not fit the model.
    """
    if Path(f"{path}.index").is_file():
        from glow_tf.storage.openai import load_openai_checkpoint  # rarely needed

        variables = load_openai_checkpoint(path, glow.config, average=average).named_variables()
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
            average = average and (folder / "average.npz").is_file()
            checkpoints.read_weights(folder, glow.named_variables(), average=average)
            return
    raise TrainError(f"restore_path {path}: no run, checkpoint or saved model, and no TF1 checkpoint {path}.index")
