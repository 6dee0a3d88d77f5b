"""3x3 convolutions as matrix products, with OpenAI's edge-indicator channel.

OpenAI's code zero-pads the input of every 3x3 convolution by a pixel and appends a channel that is 1 on that ring and
0 inside, so that the network can tell where the image ends (`add_edge_padding` in its tfops.py). Kernels are
[3, 3, C + 1, C'], the indicator's slice last. What the indicator contributes does not depend on the image: it is a bias
per position.

The convolutions of a coupling network have few channels on one side (C) and many on the other (the width). They run as
one matrix product and a cheap rearrangement of the few-channel side: `patches` before the product where the input is
the thin side, `overlap_add` after it where the output is. The transposes of the two, their gradients, are each other
with the window mirrored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.layers.base import Part, Weights, normal, scale_of, zeros
from glow_tf.layers.products import product
from glow_tf.layers.tensors import per_pixel, shape_of

TAPS = 9
_MARGIN = [[0, 0], [1, 1], [1, 1], [0, 0]]


def _windows(x: tf.Tensor, *, mirrored: bool) -> tf.Tensor:
    """The nine shifts of x [N, H, W, C], zero outside, side by side; row-major in the window, or in reverse order."""
    _, height, width, channels = shape_of(x)
    padded, size = tf.pad(x, _MARGIN), tf.convert_to_tensor([-1, height, width, channels])
    windows = [tf.slice(padded, [0, dy, dx, 0], size) for dy in range(3) for dx in range(3)]
    return tf.concat(windows[::-1] if mirrored else windows, -1)


def _add_overlaps(taps: tf.Tensor, *, mirrored: bool) -> tf.Tensor:
    """The nine taps [N, H, W, 9 C] shifted to where they belong and added: first along the height, then the width."""
    _, height, width, channels = shape_of(taps)
    row = channels // 3
    taps, order = tf.pad(taps, _MARGIN), (0, 1, 2) if mirrored else (2, 1, 0)
    size = tf.convert_to_tensor([-1, height, width + 2, row])
    taps = tf.add_n([tf.slice(taps, [0, dy, 0, i * row], size) for i, dy in enumerate(order)])
    size = tf.convert_to_tensor([-1, height, width, row // 3])
    return tf.add_n([tf.slice(taps, [0, 0, dx, i * (row // 3)], size) for i, dx in enumerate(order)])


def patches(x: tf.Tensor) -> tf.Tensor:
    """The 3x3 window around every pixel, zero outside: [N, H, W, C] -> [N, H, W, 9 C], window position slowest."""
    return _windows(x, mirrored=False)


def overlap_add(taps: tf.Tensor) -> tf.Tensor:
    """Every pixel's sum over its 3x3 window, of the tap of that position: [N, H, W, 9 C] -> [N, H, W, C]."""
    return _add_overlaps(taps, mirrored=True)


def mirrored_patches(x: tf.Tensor) -> tf.Tensor:
    """The transpose of `overlap_add`: [N, H, W, C] -> [N, H, W, 9 C], the windows' positions in reverse order."""
    return _windows(x, mirrored=True)


def mirrored_overlap_add(taps: tf.Tensor) -> tf.Tensor:
    """The transpose of `patches`: [N, H, W, 9 C] -> [N, H, W, C]."""
    return _add_overlaps(taps, mirrored=False)


def edge_patches(height: Any, width: Any, dtype: Any) -> tf.Tensor:
    """The 3x3 windows of the edge indicator: [H * W, 9], 1 where the window position lies outside the image."""
    if not (isinstance(height, int) and isinstance(width, int)):
        inside = patches(tf.ones([1, height, width, 1], dtype))
        return tf.reshape(1.0 - inside, [height * width, TAPS])
    # The sizes are known: one constant in the graph, and not what computes it.
    padded = np.pad(np.zeros([height, width]), 1, constant_values=1)
    windows = [padded[dy : dy + height, dx : dx + width].ravel() for dy in range(3) for dx in range(3)]
    return tf.constant(np.stack(windows, -1), dtype)


def split_edge(kernel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The kernel [..., 3, 3, C + 1, C'] as its image part [..., 3, 3, C, C'] and its edge part [..., 3, 3, 1, C'].

    A split, not a slice: its gradient is a concatenation, which is much cheaper than a slice's.
    """
    image, edge = tf.split(kernel, [kernel.shape[-2] - 1, 1], -2)
    return image, edge


def edge_bias(edge: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """What the edge indicator adds to a 3x3 convolution by its kernel's part `edge` [3, 3, 1, C']: [1, H, W, C']."""
    bias = product(edge_patches(height, width, edge.dtype), tf.reshape(edge, [TAPS, edge.shape[-1]]))
    return tf.reshape(bias, [1, height, width, edge.shape[-1]])


def overlap_matrix(kernel: tf.Tensor, groups: int) -> tf.Tensor:
    """The matrix [..., C, 9 C'] with conv3x3(x, kernel) = overlap_add(x times it); `kernel` [..., 3, 3, C, C'].

    The outputs come grouped as by `grouped`, in the same transposition that the matrix needs anyway.
    """
    *stack, _, _, channels, out = shape_of(kernel)
    taken_apart = tf.reshape(kernel, [*stack, 3, 3, channels, out // groups, groups])
    n = len(stack)
    order = [*range(n), *(n + axis for axis in (2, 0, 1, 4, 3))]
    return tf.reshape(tf.transpose(taken_apart, order), [*stack, channels, TAPS * out])


def grouped(x: tf.Tensor, groups: int) -> tf.Tensor:
    """Interleaved channels (a0 b0 a1 b1 ...) as groups (a0 a1 ... b0 b1 ...), for `groups` = 2; any tensor [..., C]."""
    if groups == 1:
        return x
    *outer, channels = shape_of(x)
    taken_apart = tf.reshape(x, [*outer, channels // groups, groups])
    return tf.reshape(tf.linalg.matrix_transpose(taken_apart), [*outer, channels])


def conv3x3(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The edge-aware 3x3 convolution of x [N, H, W, C] with `kernel` [3, 3, C + 1, C']: [N, H, W, C']."""
    _, height, width, channels = shape_of(x)
    image, edge = split_edge(kernel)
    out = kernel.shape[-1]
    if channels <= out:  # the rearrangement on the thin side, or it takes longer than the product
        y = per_pixel(patches(x), tf.reshape(image, [TAPS * channels, out]))
    else:
        y = overlap_add(per_pixel(x, overlap_matrix(image, 1)))
    return y + edge_bias(edge, height, width)


class NormedConv(Part):
    """Weights of a convolution without bias, followed by actnorm: y = (conv(x, W) + b) * exp(3 * logs).

    W: [3, 3, C + 1, C'] (edge-aware) or [C, C'] (1x1); b and logs: [C']. Source: `conv2d` in OpenAI's tfops.py.
    """

    set_by_data = ("b", "logs")

    def __init__(self, kernel_shape: list[int], **part: Any):
        super().__init__(**part)
        self.add_weight("W", kernel_shape, normal)
        self.add_weight("b", kernel_shape[-1:], zeros)
        self.add_weight("logs", kernel_shape[-1:], zeros)


class ZeroConv(Part):
    """The zero-initialised 3x3 convolution: y = (conv(x, W) + b) * exp(3 * logs), all weights 0 at first.

    x: [N, H, W, C]; W: [3, 3, C + 1, C']; b and logs: [C']; y: [N, H, W, C']. Source: paper, section 3.3 (zero
    initialisation); `conv2d_zeros` in OpenAI's tfops.py.
    """

    def __init__(self, channels_in: int, channels_out: int, **part: Any):
        super().__init__(**part)
        self.add_weight("W", [3, 3, channels_in + 1, channels_out], zeros)
        self.add_weight("b", [channels_out], zeros)
        self.add_weight("logs", [channels_out], zeros)

    @staticmethod
    def apply(weights: Weights, x: tf.Tensor) -> tf.Tensor:
        """y as a pure function of the weights and x."""
        return (conv3x3(x, weights["W"]) + weights["b"]) * scale_of(weights["logs"])


class ZeroLinear(Part):
    """The zero-initialised linear layer: y = (x W + b) * exp(3 * logs), all weights 0 at first.

    x: [N, C]; W: [C, C']; b and logs: [C']; y: [N, C']. Source: `linear_zeros` in OpenAI's tfops.py.
    """

    def __init__(self, channels_in: int, channels_out: int, **part: Any):
        super().__init__(**part)
        self.add_weight("W", [channels_in, channels_out], zeros)
        self.add_weight("b", [channels_out], zeros)
        self.add_weight("logs", [channels_out], zeros)

    @staticmethod
    def apply(weights: Weights, x: tf.Tensor) -> tf.Tensor:
        """y as a pure function of the weights and x."""
        return (product(x, weights["W"]) + weights["b"]) * scale_of(weights["logs"])
