"""What one training step computes: loss and gradients, averaged over the workers, and the update of all variables."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from glow_tf import runtime
from glow_tf.flow.quantization import TRAINING, noise_at
from glow_tf.flow.scan import UNRECOVERED
from glow_tf.layers.invertible_conv import SINGULAR
from glow_tf.training.config import TrainConfig
from glow_tf.training.optimizers import Optimizer, PolyakAverage
from glow_tf.training.state import METRICS
from glow_tf.training.workers import Workers

REQUESTS = ("stop", "save")  # what one worker can ask of all
RESULTS = (*METRICS, *REQUESTS, "condition", "grad_norm", "recovery_error", "step_ok", "step")
Squares = Mapping[str, tf.Tensor] | None  # the workers' mean squared gradients, for adam2 with several workers


class TrainStep:
    """One step, as a tf.function of the batch.

    Args:
      glow: the model.
      variables: what is trained, by name.
      optimizer: with slots for them.
      polyak: their average.
      workers: who shares the work.
      config: of the run.
    """

    def __init__(
        self,
        glow: Any,
        variables: Mapping[str, tf.Variable],
        optimizer: Optimizer,
        polyak: PolyakAverage,
        workers: Workers,
        config: TrainConfig,
    ) -> None:
        self._glow, self._variables, self._optimizer, self._polyak = glow, variables, optimizer, polyak
        self._workers, self._config = workers, config
        # Set by a failed step, where that ends or rolls back the run: nothing is updated from then on.
        self._halted = tf.Variable(initial_value=False, trainable=False, name="halted")
        self.retrace()

    def retrace(self) -> None:
        """After a change of what is a constant in the graph: the number of workers and the decays."""
        self.run = tf.function(self._run, autograph=False)

    def resume(self) -> None:
        """Steps count again, whatever went wrong before."""
        self._halted.assign(value=False)

    def noise(self, x: tf.Tensor, first: tf.Tensor | int) -> tf.Tensor:
        """The dequantisation noise of a batch whose first image has this place in the run."""
        glow, seed = self._glow, self._config.seed
        return noise_at(glow.config, first, x.shape[0], seed=seed, stream=TRAINING, dtype=glow.dtype)

    def _run(
        self,
        x: tf.Tensor,
        y: tf.Tensor | None,
        noise: tf.Tensor | None,
        context: tf.Tensor | None,
        first: tf.Tensor,
        step: tf.Tensor,
        lr: tf.Tensor,
        requests: tf.Tensor,
        update: tf.Tensor,
    ) -> tf.Tensor:
        """The values of RESULTS, float64; changes the variables where the step is sound and `update` is true."""
        variables = list(self._variables.values())
        if noise is None:
            noise = self.noise(x, first)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            probe = tf.zeros([self._glow.config.n_levels], self._glow.dtype)
            tape.watch([*variables, probe])
            memory = self._glow.memory_for(x.shape[0])
            losses, encoding = self._glow.losses_of(x, y, noise, memory, probe, context)
            loss = tf.reduce_mean(losses["loss"])
        # Every number that decides is averaged over the workers, or of averages, so they all decide the same.
        means = [tf.cast(tf.reduce_mean(losses[metric]), tf.float64) for metric in METRICS]
        means = self._workers.mean(tf.concat([means, requests, [encoding.condition]], 0), "metrics")
        zero = tf.UnconnectedGradients.ZERO
        *local, recovery = tape.gradient(loss, [*variables, probe], unconnected_gradients=zero)
        gradients, squares = self._share(local)
        recovery = tf.cast(tf.reduce_max(recovery), tf.float64)
        recovery = tf.where(tf.math.is_nan(recovery), tf.constant(math.inf, tf.float64), recovery)  # NaN is no largest
        recovery = self._workers.largest(recovery, "recovery")
        finite, recovered = tf.reduce_all(tf.math.is_finite(means)) & (means[-1] < SINGULAR), recovery < UNRECOVERED
        norm = self._apply(gradients, squares, lr, finite & update & ~self._halted.read_value(), recovered)
        step_ok = finite & recovered & tf.math.is_finite(norm)
        if self._config.on_nan != "skip":
            self._halted.assign(self._halted | (update & ~step_ok))
        return tf.concat([means, [norm, recovery, tf.cast(step_ok, tf.float64), tf.cast(step, tf.float64)]], axis=0)

    def _share(self, gradients: list[tf.Tensor]) -> tuple[dict[str, tf.Tensor], Squares]:
        """Averages over the workers, by name; every tensor starts as soon as the backward pass has it."""
        named = dict(zip(self._variables, gradients, strict=True))
        if self._workers.size == 1:
            return named, None
        compression = self._config.compression
        means, squares = {}, {}
        for name, gradient in named.items():
            means[name] = self._workers.mean(gradient, f"gradient/{name}", compression)
            if self._optimizer.averages_squares:
                # never in fp16, where the square of any gradient below 2e-4 is 0, and the step divides by its root
                squares[name] = self._workers.mean(tf.square(gradient), f"square/{name}")
        return means, squares or None

    def _apply(
        self,
        gradients: Mapping[str, tf.Tensor],
        squares: Squares,
        lr: tf.Tensor,
        allowed: tf.Tensor,
        recovered: tf.Tensor,
    ) -> tf.Tensor:
        """Average and optimizer, where it is allowed and the gradient is finite; the gradient's global norm.

        Where the whole gradient has to be known first, nothing is updated before that. So it is on GPUs too, and there
        without a branch, for which the host would wait until the number had reached it. Else every level is updated as
        soon as its own gradient is there, whose memory is then free again for the levels that the backward pass has
        yet to see.
        """
        if self._config.on_nan == "skip" or self._config.clip_grad_norm > 0 or runtime.uses_gpu():
            norm = tf.sqrt(_sum_of_squares(list(gradients.values())))
            enabled = allowed & recovered & tf.math.is_finite(norm)
            update = functools.partial(self._apply_part, list(gradients), gradients, squares)
            if runtime.uses_gpu():
                update(self._optimizer.begin(lr, enabled), norm, enabled)
            else:
                tf.cond(enabled, lambda: update(self._optimizer.begin(lr), norm), lambda: tf.constant(value=False))
            return norm
        parts: dict[str, list[str]] = {}
        for name in gradients:
            parts.setdefault(name.split("/")[0], []).append(name)
        sums = {part: _sum_of_squares([gradients[name] for name in names]) for part, names in parts.items()}
        norm = tf.sqrt(tf.add_n(list(sums.values())))
        alpha = tf.cond(allowed, lambda: self._optimizer.begin(lr), lambda: tf.zeros([], tf.float64))
        for part, names in reversed(parts.items()):
            tf.cond(
                allowed & tf.math.is_finite(sums[part]),
                functools.partial(self._apply_part, names, gradients, squares, alpha, norm),
                lambda: tf.constant(value=False),
            )
        return norm

    def _apply_part(
        self,
        names: list[str],
        gradients: Mapping[str, tf.Tensor],
        squares: Squares,
        alpha: tf.Tensor,
        norm: tf.Tensor,
        enabled: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Where `enabled`, updates these variables, with gradients of a global norm of at most clip_grad_norm."""
        variables = {name: self._variables[name] for name in names}
        self._polyak.update(variables, enabled)
        if self._config.clip_grad_norm:
            scale = tf.minimum(tf.constant(1.0, tf.float64), self._config.clip_grad_norm / norm)
            gradients = {name: gradients[name] * tf.cast(scale, gradients[name].dtype) for name in names}
            squares = squares and {name: squares[name] * tf.cast(scale * scale, squares[name].dtype) for name in names}
        self._optimizer.update(variables, gradients, alpha, squares, enabled)
        return tf.constant(value=True)


def _sum_of_squares(tensors: list[tf.Tensor]) -> tf.Tensor:
    return 2 * tf.reduce_sum(tf.cast(tf.stack([tf.nn.l2_loss(tensor) for tensor in tensors]), tf.float64))
