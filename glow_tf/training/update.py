"""What a step does with its gradients: averages them over the workers, and updates weights, moments and average."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import tensorflow as tf

from glow_tf.training.config import TrainConfig
from glow_tf.training.distributed import Workers
from glow_tf.training.optimizers import Optimizer
from glow_tf.training.polyak import PolyakAverage

Squares = Mapping[str, tf.Tensor] | None  # the workers' mean squared gradients, for adam2 with several workers


class Update:
    """Traced into the training step.

    Args:
      variables: what is trained, by name.
      optimizer: with slots for them.
      polyak: their average.
      workers: who shares the work.
      config: of the run; compression, on_nan and clip_grad_norm count.
    """

    def __init__(
        self,
        variables: Mapping[str, tf.Variable],
        optimizer: Optimizer,
        polyak: PolyakAverage,
        workers: Workers,
        config: TrainConfig,
    ) -> None:
        self._variables, self._optimizer, self._polyak = variables, optimizer, polyak
        self._workers, self._config = workers, config

    def share(self, gradients: list[tf.Tensor]) -> tuple[dict[str, tf.Tensor], Squares]:
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

    def apply(
        self, gradients: Mapping[str, tf.Tensor], squares: Squares, lr: tf.Tensor, allowed: tf.Tensor
    ) -> tf.Tensor:
        """Average and optimizer, where it is allowed and the gradient is finite; the gradient's global norm.

        Where the whole gradient has to be known first, nothing is updated before that. Else every level is as soon as
        its own gradient is there, whose memory is then free again for the levels that the backward pass has yet to see.
        """
        parts: dict[str, list[str]] = {}
        whole = self._config.on_nan == "skip" or self._config.clip_grad_norm > 0
        for name in gradients:
            parts.setdefault("" if whole else name.split("/")[0], []).append(name)
        sums = {part: _sum_of_squares([gradients[name] for name in names]) for part, names in parts.items()}
        norm = tf.sqrt(tf.add_n(list(sums.values())))
        begins = allowed & tf.math.is_finite(norm) if whole else allowed
        alpha = tf.cond(begins, lambda: self._optimizer.begin(lr), lambda: tf.zeros([], tf.float64))
        for part, names in reversed(parts.items()):
            tf.cond(
                begins & tf.math.is_finite(sums[part]),
                functools.partial(self._apply_part, names, gradients, squares, alpha, norm),
                lambda: tf.constant(value=False),
            )
        return norm

    def _apply_part(
        self, names: list[str], gradients: Mapping[str, tf.Tensor], squares: Squares, alpha: tf.Tensor, norm: tf.Tensor
    ) -> tf.Tensor:
        """Updates these variables, with gradients of a global norm of at most clip_grad_norm."""
        variables = {name: self._variables[name] for name in names}
        self._polyak.update(variables)
        if self._config.clip_grad_norm:
            scale = tf.minimum(tf.constant(1.0, tf.float64), self._config.clip_grad_norm / norm)
            gradients = {name: gradients[name] * tf.cast(scale, gradients[name].dtype) for name in names}
            squares = squares and {name: squares[name] * tf.cast(scale * scale, squares[name].dtype) for name in names}
        self._optimizer.update(variables, gradients, alpha, squares)
        return tf.constant(value=True)


def _sum_of_squares(tensors: list[tf.Tensor]) -> tf.Tensor:
    return 2 * tf.reduce_sum(tf.cast(tf.stack([tf.nn.l2_loss(tensor) for tensor in tensors]), tf.float64))
