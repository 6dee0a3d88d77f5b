"""Squeezing space into channels (paper, section 3 and figure 2; RealNVP, section 3.6)."""

from __future__ import annotations

import tensorflow as tf

from glow_tf.layers.base import Layer, Weights
from glow_tf.layers.tensors import per_example, reshape, shape_of


def squeeze2x2(x: tf.Tensor) -> tf.Tensor:
    """Every 2x2 block of pixels becomes one pixel: [N, H, W, C] -> [N, H/2, W/2, 4C]."""
    batch, height, width, channels = shape_of(x)
    blocks = reshape(x, [batch, height // 2, 2, width // 2, 2, channels])
    blocks = tf.transpose(blocks, [0, 1, 3, 5, 2, 4])
    return reshape(blocks, [batch, height // 2, width // 2, 4 * channels])


def unsqueeze2x2(y: tf.Tensor) -> tf.Tensor:
    """The inverse of `squeeze2x2`: [N, H, W, 4C] -> [N, 2H, 2W, C]."""
    batch, height, width, channels = shape_of(y)
    channels //= 4
    blocks = reshape(y, [batch, height, width, channels, 2, 2])
    blocks = tf.transpose(blocks, [0, 1, 4, 2, 5, 3])
    return reshape(blocks, [batch, 2 * height, 2 * width, channels])


class Squeeze(Layer):
    """Trades space for channels: every 2x2 block of pixels becomes one pixel.

    Function: y[n, h, w, 4 c + 2 i + j] = x[n, 2 h + i, 2 w + j, c].
    Reverse: x[n, 2 h + i, 2 w + j, c] = y[n, h, w, 4 c + 2 i + j].
    Log-determinant: 0.

    x: [N, H, W, C] with H and W even; y: [N, H/2, W/2, 4C].

    Source: paper, figure 2; `squeeze2d` of OpenAI's tfops.py, whose order of channels this is.
    """

    @property
    def channels_out(self) -> int:
        return 4 * self.channels

    def forward_with(self, weights: Weights, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        del weights
        return squeeze2x2(x), per_example(x, 0.0)

    def inverse_with(self, weights: Weights, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        del weights
        return unsqueeze2x2(y), per_example(y, 0.0)

    def check(self, x: tf.Tensor, channels: int) -> tf.Tensor:
        """As Layer.check, and height and width even on the way forward."""
        x = super().check(x, channels)
        odd = any(side is not None and side % 2 for side in x.shape[1:3])
        if channels == self.channels and odd:
            raise ValueError(f"{self.name} needs an even height and width, not shape {x.shape}")
        return x
