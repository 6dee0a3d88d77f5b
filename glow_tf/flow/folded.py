"""A flow step over folded weights, as a map that can be applied, undone and differentiated.

The layers of Table 1 (glow_tf/layers) are the specification, written to be read. This is the same step written to be
fast: actnorm and permutation are one matrix product, and the coupling network's gradient comes from the activations of
an evaluation that was needed anyway. scan.py runs K of these steps; tests hold both against the layers.

`ForwardStep` is x -> y, `InverseStep` is y -> x: the same pieces with the roles swapped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from glow_tf.layers.coupling import Coupling
from glow_tf.layers.coupling_net import Activations, CouplingNet, Folded
from glow_tf.layers.products import Arithmetic, product
from glow_tf.layers.tensors import per_pixel, shape_of


class FoldedStep(NamedTuple):
    """The weights of one step, or with a leading [K] those of a level's K steps.

    Actnorm and permutation are one affine map per pixel: u = x matrix + offset, and back x = u inverse - bias.
    `net` are the coupling network's weights, as its `scaled` or its `fold` gives them.
    """

    matrix: tf.Tensor
    offset: tf.Tensor
    inverse: tf.Tensor
    bias: tf.Tensor
    net: Any


class Kept(NamedTuple):
    """What the gradient of a step needs besides its weights; None for what is to be computed again.

    start: what the step was applied to, [N, H, W, C]. middle: the same size, between affine map and coupling.
    h: the coupling network's output. windows, hidden_1, hidden_2: its activations.
    """

    start: tf.Tensor | None = None
    middle: tf.Tensor | None = None
    h: tf.Tensor | None = None
    windows: tf.Tensor | None = None
    hidden_1: tf.Tensor | None = None
    hidden_2: tf.Tensor | None = None


class StepMap:
    """What both directions have in common; everything takes and returns one step's tensors.

    Args:
      coupling: whose functions and network are used, not its weights.
      arithmetic: of the network's matrix products.
      context: what the network is given besides, [N, H, W, C'] for all steps; None for nothing.

    Attributes:
      backwards: whether a level applies its last step first.
      used: the fields of FoldedStep that the map depends on.
    """

    backwards: bool
    used: tuple[str, ...]

    def __init__(self, coupling: Coupling, arithmetic: Arithmetic, context: tf.Tensor | None = None):
        self.coupling = coupling
        self.arithmetic = arithmetic
        self.context = context

    def given(self, context: Sequence[tf.Tensor]) -> StepMap:
        """The same map with another context: of one tensor, or of none."""
        return type(self)(self.coupling, self.arithmetic, *context)

    def prepare(self, weights: FoldedStep, like: tf.Tensor) -> FoldedStep:
        """The weights, of one step or stacked, with a folded network, for images of the size of `like`."""
        if isinstance(weights.net, Folded):
            return weights
        return weights._replace(net=self.coupling.net.fold(weights.net, *shape_of(like)[1:3]))

    def kept_dtype(self, name: str, dtype: tf.DType) -> tf.DType:
        """The type of a field of Kept where images are of `dtype`."""
        return self.arithmetic.dtype if name in Activations._fields else dtype

    def apply(self, weights: FoldedStep, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Kept]:
        """(the result, log_det [N] of the coupling, all that `vjp` can use)."""
        raise NotImplementedError

    def undo(self, weights: FoldedStep, end: tf.Tensor, kept: Kept) -> Kept:
        """All of Kept, from the step's result and whatever was kept of it, with at most one use of the network."""
        raise NotImplementedError

    def vjp(
        self, weights: FoldedStep, kept: Kept, d_end: tf.Tensor, d_log_det: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None, dict[str, Any]]:
        """(gradient of the start, of the context, gradients of the weights in `used`) from a whole Kept."""
        raise NotImplementedError

    def _network(self, weights: FoldedStep, unchanged: tf.Tensor, kept: Kept) -> tuple[tf.Tensor, Activations]:
        activations = Activations(kept.windows, kept.hidden_1, kept.hidden_2)
        return CouplingNet.apply(weights.net, unchanged, self.arithmetic, activations, kept.h, self.context)

    def _network_vjp(
        self, function: Callable[..., Any], weights: FoldedStep, kept: Kept, *d_of: tf.Tensor, changed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None, Folded]:
        """(d_unchanged by way of the network, d_changed, d_context, d_net) of a `function` of h and `changed`."""
        with tf.GradientTape() as tape:
            tape.watch([kept.h, changed])
            result = function(kept.h, changed)
        d_changed, d_h = tape.gradient(result, [changed, kept.h], output_gradients=list(d_of))
        activations = Activations(kept.windows, kept.hidden_1, kept.hidden_2)
        channels = 0 if self.context is None else self.context.shape[-1]
        d_unchanged, d_context, d_net = CouplingNet.vjp(weights.net, activations, d_h, self.arithmetic, channels)
        return d_unchanged, d_changed, d_context, d_net


class ForwardStep(StepMap):
    """x -> u = x matrix + offset -> y = (u1, couple(f(u1), u2))."""

    backwards = False
    used = ("matrix", "offset", "net")

    def apply(self, weights: FoldedStep, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Kept]:
        middle = per_pixel(start, weights.matrix) + weights.offset
        unchanged, before = tf.split(middle, 2, -1)
        h, activations = self._network(weights, unchanged, Kept())
        after, log_det = self.coupling.couple(h, before)
        return tf.concat([unchanged, after], -1), log_det, Kept(start, middle, h, *activations)

    def undo(self, weights: FoldedStep, end: tf.Tensor, kept: Kept) -> Kept:
        if kept.start is not None:
            start, middle = kept.start, per_pixel(kept.start, weights.matrix) + weights.offset
            h, activations = self._network(weights, tf.split(middle, 2, -1)[0], kept)
        else:
            unchanged, after = tf.split(end, 2, -1)
            h, activations = self._network(weights, unchanged, kept)
            before, _ = self.coupling.uncouple(h, after)
            middle = tf.concat([unchanged, before], -1)
            start = per_pixel(middle, weights.inverse) - weights.bias
        return Kept(start, middle, h, *activations)

    def vjp(
        self, weights: FoldedStep, kept: Kept, d_end: tf.Tensor, d_log_det: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None, dict[str, Any]]:
        _, before = tf.split(kept.middle, 2, -1)
        d_unchanged, d_after = tf.split(d_end, 2, -1)
        d_more, d_before, d_context, d_net = self._network_vjp(
            self.coupling.couple, weights, kept, d_after, d_log_det, changed=before
        )
        d_middle = tf.concat([d_unchanged + d_more, d_before], -1)
        d_start, d_matrix, d_offset = _affine_vjp(kept.start, weights.matrix, d_middle)
        return d_start, d_context, {"matrix": d_matrix, "offset": d_offset, "net": d_net}


class InverseStep(StepMap):
    """y -> u = (y1, uncouple(f(y1), y2)) -> x = u inverse - bias."""

    backwards = True
    used = ("inverse", "bias", "net")

    def apply(self, weights: FoldedStep, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Kept]:
        unchanged, after = tf.split(start, 2, -1)
        h, activations = self._network(weights, unchanged, Kept())
        before, log_det = self.coupling.uncouple(h, after)
        middle = tf.concat([unchanged, before], -1)
        return per_pixel(middle, weights.inverse) - weights.bias, log_det, Kept(start, middle, h, *activations)

    def undo(self, weights: FoldedStep, end: tf.Tensor, kept: Kept) -> Kept:
        if kept.start is not None:
            unchanged, after = tf.split(kept.start, 2, -1)
            h, activations = self._network(weights, unchanged, kept)
            before, _ = self.coupling.uncouple(h, after)
            start, middle = kept.start, tf.concat([unchanged, before], -1)
        else:
            middle = per_pixel(end, weights.matrix) + weights.offset
            unchanged, before = tf.split(middle, 2, -1)
            h, activations = self._network(weights, unchanged, kept)
            after, _ = self.coupling.couple(h, before)
            start = tf.concat([unchanged, after], -1)
        return Kept(start, middle, h, *activations)

    def vjp(
        self, weights: FoldedStep, kept: Kept, d_end: tf.Tensor, d_log_det: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None, dict[str, Any]]:
        _, after = tf.split(kept.start, 2, -1)
        d_middle, d_inverse, d_minus_bias = _affine_vjp(kept.middle, weights.inverse, d_end)
        d_unchanged, d_before = tf.split(d_middle, 2, -1)
        d_more, d_after, d_context, d_net = self._network_vjp(
            self.coupling.uncouple, weights, kept, d_before, d_log_det, changed=after
        )
        d_start = tf.concat([d_unchanged + d_more, d_after], -1)
        return d_start, d_context, {"inverse": d_inverse, "bias": -d_minus_bias, "net": d_net}


def _affine_vjp(x: tf.Tensor, matrix: tf.Tensor, d_u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(d_x, d_matrix, d_offset) of u = x matrix + offset per pixel."""
    channels = matrix.shape[-1]
    rows, d_rows = tf.reshape(x, [-1, channels]), tf.reshape(d_u, [-1, channels])
    d_matrix = product(rows, d_rows, transpose_a=True)
    return per_pixel(d_u, tf.transpose(matrix)), d_matrix, tf.reduce_sum(d_rows, 0)
