"""Evaluation on the test set, and sample grids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf import images
from glow_tf.storage.files import atomic_write
from glow_tf.training.files import storing
from glow_tf.training.noise import TESTING, noise_at
from glow_tf.training.state import METRICS
from glow_tf.training.trainer import Trainer

TEMPERATURES = (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # the original's


def evaluate(
    trainer: Trainer,
    data: Any,
    batch_size: int,
    *,
    max_batches: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """The metrics over the whole test set, on every worker, with the model's weights as they are.

    The dequantisation noise is a function of the seed and of each image's place in the test set, so two evaluations
    agree, also with other numbers of workers.

    Args:
      trainer: whose model.
      data: a DataSet; every worker evaluates its share.
      batch_size: images at a time. The last, smaller one is padded, so nothing is traced twice.
      max_batches: stop after so many.
      stop: asked after every batch; where it is true on any worker, all give up.

    Returns:
      Means per image of loss, bits_x, bits_y and pred_error; None after giving up.
    """
    workers, glow = trainer.workers, trainer.glow
    place = workers.rank * data.n_test // workers.size  # every worker has consecutive images
    sums = np.zeros(len(METRICS) + 1)
    batches = data.test_batches(batch_size, rank=workers.rank, size=workers.size)
    for x, y in batches.take(-1 if max_batches is None else max_batches):
        n = int(x.shape[0])
        if n:
            padding = [[0, batch_size - n], [0, 0], [0, 0], [0, 0]]
            x, y = tf.pad(x, padding), tf.pad(y, padding[:1])
            noise = noise_at(glow.config, place, batch_size, seed=trainer.config.seed, stream=TESTING, dtype=glow.dtype)
            values = trainer.evaluate(x, y, noise).numpy()[:n]
            sums += [*values.sum(axis=0, dtype=np.float64), n]
            place += n
        if workers.any("stop evaluation", flag=stop()):
            return None
    sums = np.asarray(workers.sum(tf.constant(sums, tf.float64), "evaluation"))
    return dict(zip(METRICS, (sums[:-1] / sums[-1]).tolist(), strict=True))


def sample_grids(
    trainer: Trainer,
    folder: Path,
    epoch: int,
    batch_size: int,
    *,
    rows: int,
    temperatures: tuple[float, ...] = TEMPERATURES,
    stop: Callable[[], bool] = lambda: False,
) -> dict[Path, np.ndarray]:
    """Draws and writes rows x rows samples at every temperature: epoch_{epoch}_sample_{i}.png.

    Columns are classes (column modulo n_y). Deviation: the latents are the same for every
    temperature and epoch, so that grids can be compared (the original draws others every time).
    Images below 32 pixels are enlarged by a whole number.

    Returns:
      The pictures, uint8 [H, W, C], by their paths. Fewer than all, where `stop` said so.

    Raises:
      StorageError: a picture cannot be written.
    """
    config = trainer.glow.config
    y = np.tile(np.arange(rows) % config.n_y, rows).astype(np.int32)
    times = images.enlargement_for(config.height, config.image_width)
    pictures: dict[Path, np.ndarray] = {}
    for i, temperature in enumerate(temperatures):
        chunks = []
        for begin in range(0, rows * rows, batch_size):
            if stop():
                return pictures
            part = y[begin : begin + batch_size]
            seed = (trainer.config.seed * 1_000_003 + begin) & 0x7FFFFFFF
            chunks.append(trainer.glow.sample(len(part), part, temperature, seed=seed).numpy())
        picture = images.enlarge(images.to_raster(np.concatenate(chunks), rows), times)
        path = folder / f"epoch_{epoch}_sample_{i}.png"
        with storing(path), atomic_write(path) as temporary:
            images.save_image(picture, temporary)
        pictures[path] = picture
    return pictures
