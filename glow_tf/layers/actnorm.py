"""Activation normalisation (paper, section 3.1)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.layers.base import LOG_SCALE_FACTOR, Layer, Weights, scale_of, zeros
from glow_tf.layers.tensors import per_example, pixels

EPSILON = 1e-6  # added to the standard deviation of the initial batch, as OpenAI's code


def normalizing_weights(x: tf.Tensor) -> dict[str, tf.Tensor]:
    """b and logs, [C] each, that give every channel of x [..., C] zero mean and unit variance.

    b = -mean, logs = log(1 / (std + 1e-6)) / 3 (OpenAI's data-dependent initialisation, tfops.py).
    """
    axes = list(range(x.shape.rank - 1))
    mean = tf.reduce_mean(x, axes)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axes)
    return {"b": -mean, "logs": -tf.math.log(tf.sqrt(variance) + EPSILON) / LOG_SCALE_FACTOR}


class ActNorm(Layer):
    """A scale and a bias per channel, set from the first batch so that the output is normalised.

    Function: y = (x + b) * s, with s = exp(3 * logs).
    Reverse: x = y / s - b.
    Log-determinant: H * W * sum(3 * logs).

    x and y: [N, H, W, C]; b and logs: [C].

    Source: paper, section 3.1 and Table 1; `actnorm` in OpenAI's tfops.py, which has the bias inside the scale
    and the factor 3. Deviation: before its initialisation the layer is the identity (OpenAI's weights are random
    until then).
    """

    set_by_data = ("b", "logs")

    def __init__(self, channels: int, **part: Any):
        super().__init__(channels, **part)
        self.add_weight("b", [channels], zeros)
        self.add_weight("logs", [channels], zeros)

    def forward_with(self, weights: Weights, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        y = (x + weights["b"]) * scale_of(weights["logs"])
        return y, per_example(x, pixels(x) * self.log_det_per_pixel(weights))

    def inverse_with(self, weights: Weights, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = y * scale_of(-weights["logs"]) - weights["b"]
        return x, per_example(y, -pixels(y) * self.log_det_per_pixel(weights))

    def initialize_with(self, weights: Weights, x: tf.Tensor) -> tuple[dict[str, Any], tf.Tensor, tf.Tensor]:
        del weights
        values = normalizing_weights(x)
        return (values, *self.forward_with(values, x))

    @staticmethod
    def log_det_per_pixel(weights: Weights) -> tf.Tensor:
        """sum(3 * logs) over the channels; [K] for stacked weights."""
        return tf.reduce_sum(LOG_SCALE_FACTOR * weights["logs"], -1)
