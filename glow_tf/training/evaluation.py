"""What a run produces from time to time: metrics over its test set, and sample grids."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import data_loaders
from data_loaders.progress import Progress
from glow_tf import images
from glow_tf.flow.contexts import picture_of
from glow_tf.flow.quantization import TESTING, noise_at
from glow_tf.latents.flatten import flatten_latents
from glow_tf.runtime import SignalHandler
from glow_tf.storage.files import atomic_write, storage_errors
from glow_tf.training import setup
from glow_tf.training.config import TrainConfig
from glow_tf.training.logging import RunLogger
from glow_tf.training.state import METRICS
from glow_tf.training.trainer import Trainer

TEMPERATURES = (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # those of OpenAI's code
_SHOWN = TEMPERATURES.index(0.7)


class Evaluator:
    """Evaluations and sample grids, with the weights that the configuration asks for, and the latest of each.

    Args:
      trainer: whose model.
      data: a DataSet; every worker evaluates its share.
      log: where the results go.
      signals: checked after every batch.

    Attributes:
      test: the latest metrics over the whole test set.
      samples: the latest sample grid at temperature 0.7.
    """

    def __init__(self, trainer: Trainer, data: Any, log: RunLogger, signals: SignalHandler) -> None:
        self._trainer, self._data, self._log, self._signals = trainer, data, log, signals
        self._config, self._glow = trainer.config, trainer.glow
        self._losses = tf.function(self._losses_of, autograph=False)
        self._tested_step, self._drawn_epoch = -1, 0
        self.test: dict[str, float] | None = None
        self.samples: Path | None = None

    def evaluate(self, epoch: int) -> dict[str, float] | None:
        """Computes `test`, on all workers; None where any of them got a signal, which ends it.

        The dequantisation noise is a function of the seed and of each image's place in the test set, so two
        evaluations agree, also with other numbers of workers.
        """
        with self._trainer.averaged(use=self._config.polyak):
            sums = self._sums()
        if sums is None:
            return None
        self.test = dict(zip(METRICS, (sums[:-1] / sums[-1]).tolist(), strict=True))
        self._tested_step = self._trainer.state.step
        self._log.tested(epoch, self.test)
        return self.test

    def _sums(self) -> np.ndarray | None:
        """The sums of METRICS over all images, and their number; None after a signal."""
        workers, seed = self._trainer.workers, self._config.seed
        size = self._trainer.local_batch(self._config.n_batch_test)
        place = workers.rank * self._data.n_test // workers.size  # every worker has consecutive images
        sums = np.zeros(len(METRICS) + 1)
        batches = self._data.test_batches(size, rank=workers.rank, size=workers.size)
        for x, y in batches.take(1 if self._config.dry_run else -1):
            n = int(x.shape[0])
            if n:
                padding = [[0, size - n], [0, 0], [0, 0], [0, 0]]  # of the last batch, so that nothing is traced twice
                x, y = tf.pad(x, padding), tf.pad(y, padding[:1])
                noise = noise_at(self._glow.config, place, size, seed=seed, stream=TESTING, dtype=self._glow.dtype)
                values = self._losses(x, y, noise).numpy()[:n]
                sums += [*values.sum(axis=0, dtype=np.float64), n]
                place += n
            if workers.any("stop evaluation", flag=self._signals.asked):
                return None
        return np.asarray(workers.sum(tf.constant(sums, tf.float64), "evaluation"))

    def _losses_of(self, x: tf.Tensor, y: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """METRICS of every image, [N, 4]."""
        losses = self._glow.losses(x, y, noise, memory="reversible")  # no gradient: nothing is worth keeping
        return tf.stack([losses[metric] for metric in METRICS], axis=1)

    def draw(self, epoch: int) -> None:
        """Rank 0 draws sample grids at every temperature, until a signal arrives.

        They are epoch_{epoch}_sample_{i}.png, as in OpenAI's code, and again samples/epoch_{epoch}_T{temperature}.png.

        Columns are classes (column modulo n_y), or the contexts of the first test images, where it is made of images;
        the first row then shows them. Deviation: the latents are the same for every temperature and epoch, so
        that grids can be compared (OpenAI's code draws others every time). Images below 32 pixels are enlarged by a
        whole number.
        """
        if self._trainer.workers.is_chief:
            with self._trainer.averaged(use=self._config.polyak):
                self._log.trying(lambda: self._draw(epoch))

    def _draw(self, epoch: int) -> None:
        config = self._glow.config
        rows = 1 if self._config.dry_run else 10 if max(config.height, config.image_width) <= 64 else 4
        y = np.tile(np.arange(rows) % config.n_y, rows).astype(np.int32)
        context = self._contexts(rows) if config.context_from_image else None
        size = self._trainer.local_batch(self._config.n_batch_train)
        times = images.enlargement_for(config.height, config.image_width)
        pictures: dict[Path, np.ndarray] = {}
        for i, temperature in enumerate(TEMPERATURES):
            chunks = []
            for begin in range(0, rows * rows, size):
                if self._signals.asked:
                    return
                part = y[begin : begin + size]
                seed = (self._config.seed * 1_000_003 + begin) & 0x7FFFFFFF
                given = None if context is None else tf.gather(context, np.arange(begin, begin + len(part)) % rows)
                chunks.append(self._glow.sample(len(part), part, temperature, seed=seed, context=given).numpy())
            if context is not None:
                chunks.insert(0, picture_of(config, context).numpy())
            picture = images.enlarge(images.to_raster(np.concatenate(chunks), rows), times)
            path = Path(self._config.logdir) / f"epoch_{epoch}_sample_{i}.png"
            sortable = path.parent / "samples" / f"epoch_{epoch:05d}_T{temperature:.2f}.png"
            for place in (path, sortable):
                with storage_errors(place):
                    images.save_image(picture, place)
            pictures[path] = picture
        self._drawn_epoch, self.samples = epoch, list(pictures)[_SHOWN]
        self._log.drawn(pictures)

    def _contexts(self, n: int) -> tf.Tensor:
        """Those of the first n test images, which are repeated where there are fewer."""
        x, _ = next(iter(self._data.test_batches(n)))
        return self._glow.context_of(tf.gather(x, np.arange(n) % int(x.shape[0])))

    def forget(self) -> None:
        """After a rollback: what was evaluated and drawn has to be done again."""
        self.test, self._tested_step, self._drawn_epoch = None, -1, 0

    def complete(self, epoch: int) -> bool:
        """Evaluates and draws unless that was just done; False where a signal arrived."""
        if self._tested_step != self._trainer.state.step and self.evaluate(epoch) is None:
            return False
        if self._drawn_epoch != epoch:
            self.draw(epoch)
        return True


def infer(model: Mapping[str, Any], config: TrainConfig) -> None:
    """Encodes the test set with restored weights, as OpenAI's `--inference`.

    Writes to `config.logdir` z.npy, the flat latents [n_test, H * W * C] of the test images in order, and x.npy, the
    images [n_test, H, W, C] uint8 that they decode to. The dequantisation noise is that of evaluations.

    Args:
      model: fields of GlowConfig.
      config: `restore_path` says where the weights are, and `polyak` that they are the Polyak average.

    Raises:
      ValueError: of one of this project's own kinds, for missing data or weights; the message is for the user.
    """
    with data_loaders.as_data_errors():
        data = setup.load_data(config, model.get("image_size", -1))
        glow = setup.make_model(setup.model_config(model, data), config)
        setup.load_weights(glow, config.restore_path, average=config.polyak)
        size = config.local_batch(config.n_batch_test, glow.config)
        kinds = {"x": ("|u1", glow.config.image_shape), "z": ("<f4", (glow.config.dimensions,))}
        folder, place = Path(config.logdir), 0
        with contextlib.ExitStack() as files, storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            out: dict[str, Any] = {}
            for name, (kind, shape) in kinds.items():
                path = files.enter_context(atomic_write(folder / f"{name}.npy"))
                out[name] = files.enter_context(path.open("wb"))
                header = {"descr": kind, "fortran_order": False, "shape": (data.n_test, *shape)}
                np.lib.format.write_array_header_1_0(out[name], header)
            progress = files.enter_context(Progress("encoding", data.n_test))
            for x, y in data.test_batches(size):
                n = int(x.shape[0])
                noise = noise_at(glow.config, place, n, seed=config.seed, stream=TESTING, dtype=glow.dtype)
                eps = glow.encode(x, y, noise)
                out["x"].write(glow.decode(eps, y, glow.context_for(x, None)).numpy().tobytes())
                out["z"].write(flatten_latents(eps).numpy().tobytes())
                place += n
                progress.update(n)
    print(f"{data.n_test} images encoded: {folder / 'x.npy'}, {folder / 'z.npy'}")
