"""Fixed permutations of the channels, what RealNVP and NICE have in place of the 1x1 convolution (section 3.2)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.layers.base import Layer, Weights
from glow_tf.layers.tensors import per_example


class Mixing(Layer):
    """A linear map of every pixel's channels: what a flow step has between actnorm and coupling.

    Besides its own formulas, a subclass gives its map as a matrix, for a level to fold actnorm into.
    """

    def matrices(self, weights: Weights) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(W [..., C, C] with y = x W per pixel, its inverse, log|det W| [...]); stacked weights, stacked results."""
        raise NotImplementedError


class ReversePermutation(Mixing):
    """The channels in reverse order.

    Function: y[..., j] = x[..., C - 1 - j].
    Reverse: x[..., j] = y[..., C - 1 - j].
    Log-determinant: 0.

    x and y: [N, H, W, C]. Source: flow_permutation 0 (`reverse_features`) of OpenAI's code.
    """

    def forward_with(self, weights: Weights, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.reverse(x, [-1]), per_example(x, 0.0)

    def inverse_with(self, weights: Weights, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.forward_with(weights, y)

    def matrices(self, weights: Weights) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        prefix = [] if self.stack is None else [self.stack]
        matrix = tf.reverse(tf.eye(self.channels, batch_shape=prefix, dtype=self.dtype), [-1])
        return matrix, matrix, tf.zeros(prefix, self.dtype)


class ShufflePermutation(Mixing):
    """A fixed random permutation of the channels.

    Function: y[..., j] = x[..., indices[j]].
    Reverse: x[..., indices[j]] = y[..., j].
    Log-determinant: 0.

    x and y: [N, H, W, C]; indices: int32 [C], not trained. Source: flow_permutation 1 (`shuffle_features`) of the
    original. Deviation: the permutation is a function of the seed.
    """

    def __init__(self, channels: int, **part: Any):
        super().__init__(channels, **part)
        self.add_weight("indices", [channels], _random_permutation, trainable=False)

    def forward_with(self, weights: Weights, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(x, weights["indices"], axis=-1), per_example(x, 0.0)

    def inverse_with(self, weights: Weights, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(y, tf.argsort(weights["indices"]), axis=-1), per_example(y, 0.0)

    def matrices(self, weights: Weights) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        inverse = tf.one_hot(weights["indices"], self.channels, dtype=self.dtype)
        return (
            tf.linalg.matrix_transpose(inverse),
            inverse,
            tf.zeros(tf.shape(inverse)[:-2], self.dtype),
        )


def _random_permutation(shape: list[int], seed: list[int], dtype: Any) -> tf.Tensor:
    del dtype  # of the images; indices are integers
    return tf.argsort(tf.random.stateless_uniform(shape, seed, dtype=tf.float64))
