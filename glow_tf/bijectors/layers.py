"""The rows of the paper's Table 1 as bijectors; the formulas are in the docstrings of the layers of the same names."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf import layers
from glow_tf.bijectors.base import LayerBijector

PERMUTATIONS = {"reverse": layers.ReversePermutation, "shuffle": layers.ShufflePermutation}


class ActNorm(LayerBijector):
    """forward: y = x / s - b per channel, with s = exp(3 * logs); x and y [..., H, W, C]. See layers.ActNorm."""

    kinds = (layers.ActNorm,)
    constant_jacobian = True


class InvertibleConv1x1(LayerBijector):
    """forward: y = x W^-1 for every pixel; x and y [..., H, W, C]. See layers.InvertibleConv1x1.

    Args of a new layer: lu_decomposed=True stores W as its LU decomposition (layers.InvertibleConv1x1LU).
    """

    kinds = (layers.InvertibleConv1x1, layers.InvertibleConv1x1LU)
    constant_jacobian = True

    @classmethod
    def build(cls, channels: int, *, lu_decomposed: bool = False, **options: Any) -> Any:
        return (layers.InvertibleConv1x1LU if lu_decomposed else layers.InvertibleConv1x1)(channels, **options)


class Permutation(LayerBijector):
    """forward: the inverse of a fixed permutation of the channels; x and y [..., H, W, C].

    Args of a new layer: kind, "reverse" (layers.ReversePermutation) or "shuffle" (layers.ShufflePermutation).
    """

    kinds = (layers.ReversePermutation, layers.ShufflePermutation)
    constant_jacobian = True

    @classmethod
    def build(cls, channels: int, *, kind: str = "reverse", **options: Any) -> Any:
        if kind not in PERMUTATIONS:
            raise ValueError(f"Permutation: kind={kind!r} is unknown; allowed are {', '.join(PERMUTATIONS)}")
        return PERMUTATIONS[kind](channels, **options)


class AdditiveCoupling(LayerBijector):
    """forward: y1 = x1, y2 = x2 - f(x1); x and y [..., H, W, C], C even. See layers.AdditiveCoupling.

    Args of a new layer: width, hidden channels of f; compute_dtype of its matrix products; context_channels.
    """

    kinds = (layers.AdditiveCoupling,)


class AffineCoupling(LayerBijector):
    """forward: y1 = x1, y2 = x2 / s - t, with (t, s) of f(x1); x and y [..., H, W, C], C even. See the layer.

    Args of a new layer: width, hidden channels of f; compute_dtype of its matrix products; context_channels.
    """

    kinds = (layers.AffineCoupling,)


class Split(LayerBijector):
    """forward: y1 = x1, y2 = mean + exp(logs) x2, with mean and logs of x1; x and y [..., H, W, C], C even.

    The half x2 is standard normal under the model; nothing is removed. See layers.Split.

    Args of a new layer: context_channels.
    """

    kinds = (layers.Split,)


class Squeeze(LayerBijector):
    """forward: every pixel's channels become 2x2 pixels: [..., H, W, 4 C] -> [..., 2 H, 2 W, C]. See layers.Squeeze."""

    kinds = (layers.Squeeze,)
    constant_jacobian = True

    def _forward_event_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        *leading, height, width, channels = input_shape.with_rank_at_least(3)
        if channels is not None and channels % 4:
            raise ValueError(f"{self.name}: forward takes images whose channels are divisible by 4, not {input_shape}")
        return tf.TensorShape([*leading, _times(height, 2), _times(width, 2), channels and channels // 4])

    def _inverse_event_shape(self, output_shape: tf.TensorShape) -> tf.TensorShape:
        *leading, height, width, channels = output_shape.with_rank_at_least(3)
        if any(side is not None and side % 2 for side in (height, width)):
            raise ValueError(f"{self.name}: inverse takes images of even height and width, not {output_shape}")
        return tf.TensorShape([*leading, height and height // 2, width and width // 2, _times(channels, 4)])

    def _forward_event_shape_tensor(self, input_shape: tf.Tensor) -> tf.Tensor:
        height, width, channels = tf.unstack(input_shape[-3:])
        return tf.concat([input_shape[:-3], [2 * height, 2 * width, channels // 4]], 0)

    def _inverse_event_shape_tensor(self, output_shape: tf.Tensor) -> tf.Tensor:
        height, width, channels = tf.unstack(output_shape[-3:])
        return tf.concat([output_shape[:-3], [height // 2, width // 2, 4 * channels]], 0)


def _times(size: int | None, factor: int) -> int | None:
    return None if size is None else factor * size
