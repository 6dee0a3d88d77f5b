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
from glow_tf.layers.tensors import as_image, per_pixel, shape_of


class Folded(NamedTuple):
    """The network's weights as its three matrix products use them, actnorm scales multiplied in.

    first: [9 C + B + 9, width]: rows for the 9 C window values, the B channels of a context, the edge indicator's 9.
    first_bias: [width].
    second, second_bias: [width, width], [width]. last: [width, 9 C'].
    minus_last_bias: [H, W, C'], edge indicator included, negative: it is subtracted.
    """

    first: tf.Tensor
    first_bias: tf.Tensor
    second: tf.Tensor
    second_bias: tf.Tensor
    last: tf.Tensor
    minus_last_bias: tf.Tensor


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

    def scaled(self, weights: Weights) -> Weights:
        """The weights with their vectors worked out and brought together, as `fold` takes them; stacked or not.

        vectors: [..., 4, width], scale and scaled bias of the first and of the second layer.
        last_vectors: [..., 2, C'], scale and scaled bias of the last one, the bias negative and grouped.
        """
        l_1, l_2, l_last = weights["l_1"], weights["l_2"], weights["l_last"]
        scale_1, scale_2, scale_last = (scale_of(layer["logs"]) for layer in (l_1, l_2, l_last))
        return {
            **{name: value for name, value in weights.items() if name == "context"},
            "first": l_1["W"],
            "second": l_2["W"],
            "last": l_last["W"],
            "vectors": tf.stack([scale_1, scale_1 * l_1["b"], scale_2, scale_2 * l_2["b"]], -2),
            "last_vectors": tf.stack([scale_last, grouped(-scale_last * l_last["b"], self.groups)], -2),
        }

    def fold(self, scaled: Weights, height: int, width: int) -> Folded:
        """What `scaled` gave as the three matrix products on images of height x width use it; stacked or not."""
        *stack, hidden, _ = shape_of(scaled["second"])
        channels, outputs = scaled["first"].shape[-2] - 1, scaled["last"].shape[-1]
        scale_1, bias_1, scale_2, bias_2 = tf.unstack(scaled["vectors"], axis=-2)
        scale_last, minus_bias = tf.unstack(scaled["last_vectors"], axis=-2)
        image, edge = split_edge(scaled["first"])
        rows = [
            tf.reshape(image, [*stack, TAPS * channels, hidden]),
            *([scaled["context"]] if "context" in scaled else []),
            tf.reshape(edge, [*stack, TAPS, hidden]),
        ]
        last = overlap_matrix(scaled["last"] * _of_rank(scale_last, len(stack) + 4), self.groups)
        last, edge = tf.split(last, [hidden, 1], -2)
        minus_edges = product(-edge_patches(height, width, edge.dtype), tf.reshape(edge, [*stack, TAPS, outputs]))
        minus_bias = minus_edges + _of_rank(minus_bias, len(stack) + 2)
        return Folded(
            first=tf.concat(rows, -2) * _of_rank(scale_1, len(stack) + 2),
            first_bias=bias_1,
            second=scaled["second"] * _of_rank(scale_2, len(stack) + 2),
            second_bias=bias_2,
            last=last,
            minus_last_bias=tf.reshape(minus_bias, [*stack, height, width, outputs]),
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
        first, first_bias, second, second_bias, last = (tf.cast(matrix, compute_dtype) for matrix in folded[:5])
        windows, hidden_1, hidden_2 = kept
        if windows is None:
            beside = [] if context is None else [tf.cast(context, compute_dtype)]
            windows = _windows(tf.cast(x, compute_dtype), beside)
        if hidden_1 is None:
            hidden_1 = tf.nn.relu(tf.nn.bias_add(product(windows, first, tf32=tf32), first_bias))
        if hidden_2 is None:
            hidden_2 = tf.nn.relu(tf.nn.bias_add(product(hidden_1, second, tf32=tf32), second_bias))
        if h is None:
            taps = as_image(tf.cast(product(hidden_2, last, tf32=tf32), x.dtype), x)
            # Subtracted: where all sizes are known, TensorFlow's optimiser joins additions into one, and an additive
            # coupling's z + h would be summed in another order than the h of its inverse, z - h.
            h = overlap_add(taps) - folded.minus_last_bias
        return h, Activations(windows, hidden_1, hidden_2)

    @staticmethod
    def vjp(
        folded: Folded, kept: Activations, d_h: tf.Tensor, arithmetic: Arithmetic, context_channels: int = 0
    ) -> tuple[tf.Tensor, tf.Tensor | None, Folded]:
        """(d_x, d_context if there is one, gradients of `folded`) for the output's gradient d_h [N, H, W, C']."""
        compute_dtype, tf32 = arithmetic
        first, _, second, _, last, _ = (tf.cast(matrix, compute_dtype) for matrix in folded)
        taps = mirrored_patches(d_h)
        taps = tf.cast(tf.reshape(taps, [-1, taps.shape[-1]]), compute_dtype)
        d_2 = tf.raw_ops.ReluGrad(gradients=product(taps, last, transpose_b=True, tf32=tf32), features=kept.hidden_2)
        d_1 = tf.raw_ops.ReluGrad(gradients=product(d_2, second, transpose_b=True, tf32=tf32), features=kept.hidden_1)
        gradients = Folded(
            first=product(tf.transpose(kept.windows), d_1, tf32=tf32),
            first_bias=tf.raw_ops.BiasAddGrad(out_backprop=d_1),
            second=product(kept.hidden_1, d_2, transpose_a=True, tf32=tf32),
            second_bias=tf.raw_ops.BiasAddGrad(out_backprop=d_2),
            # the transpose of the product that is wanted takes two thirds of its time: the wide side stays contiguous
            last=tf.transpose(product(taps, kept.hidden_2, transpose_a=True, tf32=tf32)),
            minus_last_bias=-tf.reduce_sum(d_h, 0),
        )
        from_windows = first.shape[0] - TAPS
        d_windows = product(d_1, first[:from_windows], transpose_b=True, tf32=tf32)
        d_windows, d_context = as_image(tf.cast(d_windows, d_h.dtype), d_h), None
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


def _windows(x: tf.Tensor, beside: list[tf.Tensor]) -> tf.Tensor:
    """[N H W, 9 C + B + 9]: every pixel's window, what is `beside` it, and its edge indicator's window."""
    batch, height, width, channels = shape_of(x)
    edges = tf.reshape(edge_patches(height, width, x.dtype), [1, height, width, TAPS])
    edges = tf.broadcast_to(edges, [batch, height, width, TAPS])
    more = sum(tensor.shape[-1] for tensor in beside)
    return tf.reshape(tf.concat([patches(x), *beside, edges], -1), [-1, TAPS * channels + more + TAPS])


def _of_rank(vector: tf.Tensor, rank: int) -> tf.Tensor:
    """Stacked vectors [K, C] as [K, 1, ..., C] of this rank, to broadcast to what has C last; [C] needs no change."""
    *stack, channels = shape_of(vector)
    return vector if not stack else tf.reshape(vector, [*stack, *[1] * (rank - len(stack) - 1), channels])
