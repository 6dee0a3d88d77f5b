"""Factoring out half of the variables with a learned Gaussian prior (paper, section 3 and figure 2b)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.layers.base import Weights
from glow_tf.layers.conditional import ConditionalLayer
from glow_tf.layers.conv import ZeroConv


def standardize(z: tf.Tensor, mean: tf.Tensor, logs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(eps = (z - mean) / exp(logs), log_det [N] = -sum(logs)) of z and logs [N, H, W, C]."""
    return (z - mean) * tf.exp(-logs), -tf.reduce_sum(logs, [1, 2, 3])


def unstandardize(eps: tf.Tensor, mean: tf.Tensor, logs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(z = mean + exp(logs) eps, log_det [N] = sum(logs)): the inverse of `standardize`."""
    return mean + tf.exp(logs) * eps, tf.reduce_sum(logs, [1, 2, 3])


class Split(ConditionalLayer):
    """Standardises half of the channels by a Gaussian whose mean and scale are functions of the other half.

    Function: y1 = x1, y2 = (x2 - mean) / exp(logs), with mean = h[0::2], logs = h[1::2], h = ZeroConv(x1).
    Reverse: x1 = y1, x2 = mean + exp(logs) * y2, with the same mean and logs from y1.
    Log-determinant: -sum(logs).

    x = (x1, x2) and y: [N, H, W, C], C even. y2 is a latent, standard normal under the model: log N(y2; 0, 1) plus the
    log-determinant is log N(x2; mean, exp(logs)). y1 goes on to the next level. With a context c [N, H, W, C'],
    h = ZeroConv((x1, c)), of the concatenated channels.

    Source: paper, figure 2b; `split2d` and `split2d_prior` in OpenAI's model.py.
    """

    def __init__(self, channels: int, **part: Any):
        super().__init__(channels, **part)
        if channels % 2:
            raise ValueError(f"{self.name}: channels={channels} must be even to factor out half of them")
        self.add_part("conv", ZeroConv, channels // 2 + self.context_channels, channels)

    def forward_with(
        self, weights: Weights, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        kept, factored = tf.split(x, 2, -1)
        eps, log_det = standardize(factored, *self._mean_and_logs(weights, kept, context))
        return tf.concat([kept, eps], -1), log_det

    def inverse_with(
        self, weights: Weights, y: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        kept, eps = tf.split(y, 2, -1)
        factored, log_det = unstandardize(eps, *self._mean_and_logs(weights, kept, context))
        return tf.concat([kept, factored], -1), log_det

    def _mean_and_logs(
        self, weights: Weights, kept: tf.Tensor, context: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        h = ZeroConv.apply(weights["conv"], kept if context is None else tf.concat([kept, context], -1))
        return h[..., 0::2], h[..., 1::2]
