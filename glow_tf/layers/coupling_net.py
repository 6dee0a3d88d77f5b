"""The network inside a coupling: 3x3, 1x1, zero-initialised 3x3 (paper, section 3.3)."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from glow_tf.layers.actnorm import normalizing_weights
from glow_tf.layers.base import Part, Weights, scale_of, zeros
from glow_tf.layers.conv import (
    TAPS,
    NormedConv,
    ZeroConv,
    conv3x3,
    edge_bias_of,
    edge_patches,
    grouped,
    mirrored_overlap_add,
    mirrored_patches,
    overlap_add,
    overlap_matrix,
    patches,
    split_edge,
)
from glow_tf.layers.products import Arithmetic, product
from glow_tf.layers.tensors import per_pixel, shape_of


class Folded(NamedTuple):
    """The network's weights as its three matrix products use them, actnorm scales multiplied in.

    first: [9 C + B + 10, width]: rows for the 9 C window values, the B channels of a context, the edge indicator's 9,
      and the bias.
    second, second_bias: [width, width], [width]. last: [width, 9 C'].
    last_bias: [1, H, W, C'], edge indicator included.
    """

    first: tf.Tensor
    second: tf.Tensor
    second_bias: tf.Tensor
    last: tf.Tensor
    last_bias: tf.Tensor


class Activations(NamedTuple):
    """What the network's gradient needs besides the weights, each [N H W, ...]; None for what is not kept."""

    windows: Any
    hidden_1: Any
    hidden_2: Any


NOTHING_KEPT = Activations(None, None, None)


class CouplingNet(Part):
    """f of the couplings: conv 3x3, actnorm, relu, conv 1x1, actnorm, relu, zero-initialised conv 3x3.

    x: [N, H, W, C] -> h: [N, H, W, C'], with `width` hidden channels. Because the last convolution starts at zero,
    every coupling starts as the identity (additive) or a constant scale (affine).

    With context_channels=B there is a context c [N, H, W, B] besides: the first layer is conv3x3(x) + c W_c for every
    pixel, before its actnorm. It is one product with B more columns. 1x1 is enough, because the context's neighbourhood
    is in it already (see context.py), and costs a ninth of a convolution over the concatenated channels. W_c starts at
    zero: at first a conditional network is the unconditional one, whatever the context is. (From random W_c the digits'
    classes are learned with 0.08 bits/dim more on images that were not trained on.)

    OpenAI's code interleaves the last convolution's outputs where there are several per channel (shift, scale, shift,
    scale, ...). The weights are stored so, but h has them in `groups` (all shifts, then all scales): that costs nothing
    here and saves strided slices later.

    `apply` is the network; `vjp` is its gradient from the activations that `apply` returned, written out so that a
    level's backward pass can have it without evaluating the network twice.

    Source: paper, section 3.3; `f` in OpenAI's model.py.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        width: int,
        *,
        groups: int = 1,
        context_channels: int = 0,
        **part: Any,
    ):
        super().__init__(**part)
        self.groups = groups
        if width < 1:
            raise ValueError(f"{self.name}: width={width} must be at least 1")
        self.add_part("l_1", NormedConv, [3, 3, channels_in + 1, width])
        self.add_part("l_2", NormedConv, [width, width])
        self.add_part("l_last", ZeroConv, width, channels_out)
        if context_channels:
            self.add_weight("context", [context_channels, width], zeros)

    def fold(self, weights: Weights, height: int, width: int) -> Folded:
        """The weights as the three matrix products on images of height x width use them; stacked or not."""
        l_1, l_2, l_last = weights["l_1"], weights["l_2"], weights["l_last"]
        stack = shape_of(l_2["W"])[:-2]
        scale_1, scale_2, scale_last = (scale_of(layer["logs"]) for layer in (l_1, l_2, l_last))
        channels, hidden = l_1["W"].shape[-2] - 1, l_1["W"].shape[-1]
        first, first_edge = split_edge(l_1["W"])
        last, last_edge = split_edge(l_last["W"] * _of_rank(scale_last, l_last["W"].shape.rank))
        rows = [
            tf.reshape(first, [*stack, TAPS * channels, hidden]),
            *([weights["context"]] if "context" in weights else []),
            tf.reshape(first_edge, [*stack, TAPS, hidden]),
            tf.reshape(l_1["b"], [*stack, 1, hidden]),
        ]
        last_bias = edge_bias_of(last_edge, height, width)
        last_bias += _of_rank(l_last["b"] * scale_last, last_bias.shape.rank)
        return Folded(
            first=tf.concat(rows, -2) * _of_rank(scale_1, l_2["W"].shape.rank),
            second=l_2["W"] * _of_rank(scale_2, l_2["W"].shape.rank),
            second_bias=l_2["b"] * scale_2,
            last=overlap_matrix(last, self.groups),
            last_bias=grouped(last_bias, self.groups),
        )

    @staticmethod
    def apply(
        folded: Folded,
        x: tf.Tensor,
        arithmetic: Arithmetic,
        kept: Activations = NOTHING_KEPT,
        h: tf.Tensor | None = None,
        context: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, Activations]:
        """(h, what `vjp` needs); x and h stay in x's dtype, whatever the matrix products' arithmetic is.

        What is in `kept`, and h, from an evaluation before is not evaluated again.
        """
        compute_dtype, tf32 = arithmetic
        first, second, bias, last = (tf.cast(matrix, compute_dtype) for matrix in folded[:4])
        windows, hidden_1, hidden_2 = kept
        if windows is None:
            beside = [] if context is None else [tf.cast(context, compute_dtype)]
            windows = _windows_and_ones(tf.cast(x, compute_dtype), beside)
        if hidden_1 is None:
            # first has its bias as a row; adding a zero one lets TensorFlow fuse the relu into the product
            hidden_1 = tf.nn.relu(tf.nn.bias_add(product(windows, first, tf32=tf32), tf.zeros_like(bias)))
        if hidden_2 is None:
            hidden_2 = tf.nn.relu(tf.nn.bias_add(product(hidden_1, second, tf32=tf32), bias))
        if h is None:
            taps = _as_image(tf.cast(product(hidden_2, last, tf32=tf32), x.dtype), x)
            h = _plus_bias(overlap_add(taps), folded.last_bias)
        return h, Activations(windows, hidden_1, hidden_2)

    @staticmethod
    def vjp(
        folded: Folded, kept: Activations, d_h: tf.Tensor, arithmetic: Arithmetic, context_channels: int = 0
    ) -> tuple[tf.Tensor, tf.Tensor | None, Folded]:
        """(d_x, d_context if there is one, gradients of `folded`) for the output's gradient d_h [N, H, W, C']."""
        compute_dtype, tf32 = arithmetic
        first, second, _, last, _ = (tf.cast(matrix, compute_dtype) for matrix in folded)
        taps = mirrored_patches(d_h)
        taps = tf.cast(tf.reshape(taps, [-1, taps.shape[-1]]), compute_dtype)
        d_2 = tf.raw_ops.ReluGrad(gradients=product(taps, last, transpose_b=True, tf32=tf32), features=kept.hidden_2)
        d_1 = tf.raw_ops.ReluGrad(gradients=product(d_2, second, transpose_b=True, tf32=tf32), features=kept.hidden_1)
        gradients = Folded(
            first=product(tf.transpose(kept.windows), d_1, tf32=tf32),
            second=product(kept.hidden_1, d_2, transpose_a=True, tf32=tf32),
            second_bias=tf.raw_ops.BiasAddGrad(out_backprop=d_2),
            # the transpose of the product that is wanted takes two thirds of its time: the wide side stays contiguous
            last=tf.transpose(product(taps, kept.hidden_2, transpose_a=True, tf32=tf32)),
            last_bias=tf.reduce_sum(d_h, 0, keepdims=True),
        )
        from_windows = first.shape[0] - TAPS - 1
        d_windows = product(d_1, first[:from_windows], transpose_b=True, tf32=tf32)
        d_windows, d_context = _as_image(tf.cast(d_windows, d_h.dtype), d_h), None
        if context_channels:
            d_windows, d_context = tf.split(d_windows, [d_windows.shape[-1] - context_channels, context_channels], -1)
        d_x = mirrored_overlap_add(d_windows)
        return d_x, d_context, Folded(*(tf.cast(gradient, d_h.dtype) for gradient in gradients))

    def initialize(
        self, weights: Weights, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[dict[str, Any], tf.Tensor]:
        """Data-dependent initialisation of the actnorms inside: (the weights it sets, h with them)."""
        values = {}
        h = conv3x3(x, weights["l_1"]["W"])
        if context is not None:
            h += per_pixel(context, weights["context"])
        values["l_1"] = normalizing_weights(h)
        h = tf.nn.relu((h + values["l_1"]["b"]) * scale_of(values["l_1"]["logs"]))
        h = per_pixel(h, weights["l_2"]["W"])
        values["l_2"] = normalizing_weights(h)
        h = tf.nn.relu((h + values["l_2"]["b"]) * scale_of(values["l_2"]["logs"]))
        return values, grouped(ZeroConv.apply(weights["l_last"], h), self.groups)


def _windows_and_ones(x: tf.Tensor, beside: list[tf.Tensor]) -> tf.Tensor:
    """[N H W, 9 C + B + 10]: every pixel's window, what is `beside` it, its edge indicator's window, and a one."""
    batch, height, width, channels = shape_of(x)
    constant = tf.concat([edge_patches(height, width, x.dtype), tf.ones([height * width, 1], x.dtype)], 1)
    constant = tf.reshape(constant, [1, height, width, TAPS + 1])
    constant = tf.broadcast_to(constant, [batch, height, width, TAPS + 1])
    more = sum(tensor.shape[-1] for tensor in beside)
    return tf.reshape(tf.concat([patches(x), *beside, constant], -1), [-1, TAPS * channels + more + TAPS + 1])


def _of_rank(vector: tf.Tensor, rank: int) -> tf.Tensor:
    """A vector [C], or stacked ones [K, C], as [..., 1, C] of this rank, to be multiplied with what has C last."""
    *stack, channels = shape_of(vector)
    return tf.reshape(vector, [*stack, *[1] * (rank - len(stack) - 1), channels])


def _plus_bias(h: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """h [N, H, W, C] plus a bias per position [1, H, W, C], as one rounded sum wherever it is traced.

    Not `h + bias`: where all sizes are known, TensorFlow's optimiser joins additions into one AddN, and an additive
    coupling's z + h would be summed in another order than the h of its inverse, z - h.
    """
    batch, height, width, channels = shape_of(h)
    rows = tf.reshape(h, [batch, height * width * channels])
    return tf.reshape(tf.nn.bias_add(rows, tf.reshape(bias, [-1])), [batch, height, width, channels])


def _as_image(rows: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """[N H W, C] -> [N, H, W, C] with the N, H, W of `like`."""
    return tf.reshape(rows, [*shape_of(like)[:-1], rows.shape[-1]])
