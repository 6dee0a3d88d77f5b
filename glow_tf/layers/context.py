"""The context of a conditional model, at the resolution of every level."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.layers.base import Initializer, Part, Weights, zeros
from glow_tf.layers.conv import conv3x3
from glow_tf.layers.squeeze import squeeze2x2


class ContextEncoder(Part):
    """Makes of a context [N, H, W, C] one map of features for every level, [N, H / 2^(i + 1), W / 2^(i + 1), F].

    Level i squeezes the level before's features (the context itself at first), so that no pixel is lost, and two 3x3
    convolutions with relu bring them to F channels: f_i = relu(conv(relu(conv(squeeze(f_{i-1}))))). It is evaluated
    once, not in every flow step, and whatever the flow's precision is, in float32 (or float64), so that encoding and
    decoding see the same.

    At first the features are the pixels themselves beside random ones: relu(x) and relu(-x) of the finest level's
    pixels, as far as F goes, and at further levels the means of those over 2x2 pixels. (Of random features alone a
    model learns more slowly what single pixels say.) Nothing is normalised by data: a context may be constant in the
    first batch, as that of one class is, or the output of a network whose last layer starts at zero.

    Args:
      channels: C.
      features: F.
      n_levels: L.
      n_y: the number of classes, where the context is the class: an embedding [n_y, C], the same for every pixel.

    Source: ours; OpenAI's code has no context.
    """

    def __init__(self, channels: int, features: int, n_levels: int, *, n_y: int | None = None, **part: Any):
        super().__init__(**part)
        if n_y is not None:
            self.add_weight("embedding", [n_y, channels], standard_normal)
        for i in range(n_levels):
            first = means if i else plus_and_minus
            self.add_part(f"level_{i}", _TwoConvs, 4 * (features if i else channels), features, first)

    @staticmethod
    def features(weights: Weights, context: tf.Tensor) -> list[tf.Tensor]:
        """The features of every level, fine to coarse, as a pure function of the weights and the context."""
        features = [context]
        for level in (weights[name] for name in weights if name.startswith("level_")):
            features.append(_TwoConvs.apply(level, squeeze2x2(features[-1])))
        return features[1:]

    @staticmethod
    def embedded(weights: Weights, label: tf.Tensor, height: int, width: int) -> tf.Tensor:
        """The context [N, height, width, C] of labels [N]."""
        vectors = tf.gather(weights["embedding"], label)[:, tf.newaxis, tf.newaxis]
        return tf.tile(vectors, [1, height, width, 1])


class _TwoConvs(Part):
    """relu(conv(relu(conv(x)))), both 3x3 and edge-aware; x [N, H, W, C] -> [N, H, W, C']."""

    def __init__(self, channels_in: int, channels_out: int, first: Initializer, **part: Any):
        super().__init__(**part)
        for name, channels, initializer in (("first", channels_in, first), ("second", channels_out, the_same)):
            self.add_weight(f"{name}_W", [3, 3, channels + 1, channels_out], initializer)
            self.add_weight(f"{name}_b", [channels_out], zeros)

    @staticmethod
    def apply(weights: Weights, x: tf.Tensor) -> tf.Tensor:
        """y as a pure function of the weights and x."""
        for name in ("first", "second"):
            x = tf.nn.relu(conv3x3(x, weights[f"{name}_W"]) + weights[f"{name}_b"])
        return x


def plus_and_minus(shape: list[int], seed: list[int], dtype: Any) -> tf.Tensor:
    """A kernel [3, 3, C + 1, C'] that gives x and -x of the first channels, as far as C' goes, nearly."""
    passed = np.zeros(shape)
    for k in range(min(shape[-1], 2 * (shape[-2] - 1))):
        passed[1, 1, k // 2, k] = 1 - 2 * (k % 2)
    return _nearly(passed, seed, dtype)


def the_same(shape: list[int], seed: list[int], dtype: Any) -> tf.Tensor:
    """A kernel [3, 3, C + 1, C] that passes its input on, nearly."""
    passed = np.zeros(shape)
    np.fill_diagonal(passed[1, 1], 1)
    return _nearly(passed, seed, dtype)


def means(shape: list[int], seed: list[int], dtype: Any) -> tf.Tensor:
    """A kernel [3, 3, 4 C + 1, C] that gives the means of what were 2x2 pixels before they were squeezed, nearly."""
    passed = np.zeros(shape)
    for k in range(shape[-1]):
        passed[1, 1, 4 * k : 4 * k + 4, k] = 1 / 4
    return _nearly(passed, seed, dtype)


def _nearly(passed: np.ndarray, seed: list[int], dtype: Any) -> tf.Tensor:
    """The kernel plus a tenth of the variance that random ones have (He et al. 2015)."""
    deviation = math.sqrt(0.2 / math.prod(passed.shape[:-1]))
    return tf.constant(passed, dtype) + tf.random.stateless_normal(passed.shape, seed, stddev=deviation, dtype=dtype)


def standard_normal(shape: list[int], seed: list[int], dtype: Any) -> tf.Tensor:
    """N(0, 1)."""
    return tf.random.stateless_normal(shape, seed, dtype=dtype)
