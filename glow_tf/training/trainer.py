"""Trainer: one optimizer step, the learning-rate schedule, and the Polyak average."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.optimizers import beta2_of, make_optimizer
from glow_tf.polyak import PolyakAverage
from glow_tf.training import distributed
from glow_tf.training.config import TrainConfig
from glow_tf.training.noise import TRAINING, noise_at
from glow_tf.training.state import METRICS, TrainState


class Trainer:
    """Trains a Glow one batch at a time.

    The Polyak average starts from the weights as they are when the trainer is made; where the model
    is not initialized then, from the weights after its data-dependent initialisation.

    Args:
      glow: the model.
      config: a TrainConfig, or a dict of its fields.
      workers: who shares the work; default: whoever the launcher started, else this process alone.
    """

    def __init__(
        self,
        glow: Any,
        config: TrainConfig | Mapping[str, Any] | None = None,
        workers: distributed.Workers | None = None,
    ) -> None:
        if not isinstance(config, TrainConfig):
            config = TrainConfig.from_dict(config or {})
        self.glow, self.config = glow, config
        self.workers = workers or distributed.connect()
        self.state = TrainState()
        names = {v.ref(): name for name, v in glow.named_variables().items()}
        self.variables = {names[v.ref()]: v for v in glow.trainable_variables}
        self.train_its = config.steps_per_epoch(self.workers.size)
        beta2 = beta2_of(self.train_its, config.polyak_epochs)
        self.optimizer = make_optimizer(
            config.optimizer, beta1=config.beta1, beta2=beta2, weight_decay=config.weight_decay
        )
        self.optimizer.initialize(self.variables)
        self._polyak = PolyakAverage(beta2, self.variables)
        self._step_function = tf.function(self._train_step, autograph=False)
        self._evaluate_function = tf.function(self._evaluate, autograph=False)
        self.is_averaged = False
        self._results: tf.Tensor | None = None
        self._awaits_initialization = not glow.initialized

    @property
    def average(self) -> dict[str, tf.Variable]:
        """The Polyak average of every trainable variable, by name."""
        return self._polyak.values

    def restart_average(self) -> None:
        """Starts the Polyak average anew from the weights as they are."""
        self._polyak.reset(self.variables)

    @contextlib.contextmanager
    def averaged(self, *, use: bool = True) -> Iterator[None]:
        """Within this context the model has the averaged weights (with `use` False: its own).

        They are exchanged in place, so no second copy is held; do not train or save meanwhile.
        """
        if not use or self.is_averaged:
            yield
            return
        self._polyak.swap(self.variables)
        self.is_averaged = True
        try:
            yield
        finally:
            self._polyak.swap(self.variables)
            self.is_averaged = False

    def step(self, x: Any, y: Any = None, lr: float | None = None, noise: Any = None) -> dict[str, float]:
        """Takes one optimizer step and waits for its results.

        Args:
          x: uint8 [N, H, W, C], this worker's images; all workers have equally many.
          y: int [N], their classes.
          lr: learning rate; None: the schedule's.
          noise: dequantisation noise [N, H, W, C]; None: a function of the seed and of each image's place in
            the sequence of all images trained on, so that it does not depend on how many workers share them.

        Returns:
          loss, bits_x, bits_y, pred_error: means over all workers' batches, with the weights before
          the step; grad_norm: global norm of the averaged gradient.
        """
        return self.read(self.dispatch(x, y, lr, noise))

    def dispatch(
        self,
        x: Any,
        y: Any = None,
        lr: float | None = None,
        noise: Any = None,
        *,
        stop: bool = False,
        save: bool = False,
    ) -> tf.Tensor:
        """As `step`, without waiting for an accelerator; pass what it returns to `read`.

        Where a worker has set `stop` or `save`, `read` returns "stop" or "save" above 0 on all.
        """
        if self.is_averaged:
            raise RuntimeError("the model has the averaged weights; train outside `averaged()`")
        if self._awaits_initialization:
            self._awaits_initialization = False
            if self.glow.initialized and self.state.step == 0:  # later steps: restored, with its average
                self.restart_average()
        if lr is None:
            lr = self.config.lr_at(self.state.n_processed)
        x = tf.convert_to_tensor(x)
        y = None if y is None else tf.convert_to_tensor(y)
        noise = None if noise is None else tf.convert_to_tensor(noise)
        first = tf.constant(self.state.n_images + self.workers.rank * x.shape[0], tf.int64)
        wishes = tf.constant([stop, save], tf.float64)
        results = self._step_function(x, y, noise, first, tf.constant(lr, tf.float64), wishes)
        self._results = results
        self.state.step += 1
        self.state.n_processed += self.config.n_batch_train * self.workers.size
        self.state.n_images += x.shape[0] * self.workers.size
        return results

    def read(self, results: tf.Tensor) -> dict[str, float]:
        """The numbers of a step; waits until they are there."""
        values = np.asarray(results, np.float64).tolist()
        return dict(zip((*METRICS, "stop", "save", "grad_norm"), values, strict=True))

    @property
    def gradient_norm(self) -> float | None:
        """Global norm of the last step's averaged gradient, before its update; None before any step."""
        return None if self._results is None else self.read(self._results)["grad_norm"]

    def evaluate(self, x: Any, y: Any = None, noise: Any = None) -> tf.Tensor:
        """The four metrics of every image, [N, 4], with the model's weights as they are."""
        return self._evaluate_function(x, y, noise)

    def _evaluate(self, x: tf.Tensor, y: tf.Tensor | None, noise: tf.Tensor | None) -> tf.Tensor:
        losses = self.glow.losses(x, y, noise, memory="reversible")  # no gradient: nothing is worth keeping
        return tf.stack([losses[metric] for metric in METRICS], axis=1)

    def _train_step(
        self,
        x: tf.Tensor,
        y: tf.Tensor | None,
        noise: tf.Tensor | None,
        first: tf.Tensor,
        lr: tf.Tensor,
        wishes: tf.Tensor,
    ) -> tf.Tensor:
        variables = list(self.variables.values())
        if noise is None:
            glow, seed = self.glow, self.config.seed
            noise = noise_at(glow.config, first, x.shape[0], seed=seed, stream=TRAINING, dtype=glow.dtype)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            losses = self.glow.losses(x, y, noise)
            loss = tf.reduce_mean(losses["loss"])
        local = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients, squares = self._share(local)
        self._polyak.update(self.variables)
        self.optimizer.apply(gradients, variables, lr, squares)
        means = [tf.reduce_mean(losses[metric]) for metric in METRICS]
        means = tf.concat([tf.stack([tf.cast(mean, tf.float64) for mean in means]), wishes], axis=0)
        means = self.workers.mean(means, "metrics")
        norm = tf.sqrt(2 * tf.add_n([tf.cast(tf.nn.l2_loss(g), tf.float64) for g in gradients]))
        return tf.concat([means, [norm]], axis=0)

    def _share(self, gradients: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor] | None]:
        """Averages over the workers; every tensor starts as soon as the backward pass has it."""
        if self.workers.size == 1:
            return gradients, None
        compression = self.config.compression
        means, squares = [], []
        for name, gradient in zip(self.variables, gradients, strict=True):
            means.append(self.workers.mean(gradient, f"gradient/{name}", compression))
            if self.optimizer.averages_squares:
                # never in fp16, where the square of any gradient below 2e-4 is 0, and the step divides by its root
                squares.append(self.workers.mean(tf.square(gradient), f"square/{name}"))
        return means, squares or None
