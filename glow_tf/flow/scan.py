"""The loops over a level's steps, in both directions, and their gradients (see memory.py for what they keep)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from glow_tf.layers.base import Weights
from glow_tf.layers.coupling import Coupling
from glow_tf.layers.coupling_net import Activations, CouplingNet, Folded
from glow_tf.layers.tensors import per_example, per_pixel, shape_of, slice_step


class FoldedStep(NamedTuple):
    """The weights of a level's K steps as its loops use them: every tensor has a leading [K].

    Actnorm and permutation are one affine map per pixel: u = x matrix + offset, and back x = u inverse - bias.
    `net` are the coupling networks' weights, as they are stored, or a stacked Folded.
    """

    matrix: tf.Tensor
    offset: tf.Tensor
    inverse: tf.Tensor
    bias: tf.Tensor
    net: Weights | Folded


class Loops:
    """The four loops over one level's steps.

    Args:
      coupling: whose functions and network are used, not its weights.
      steps: the K steps.
      like: a tensor of the images' size.
      compute_dtype: of the networks' matrix products.
    """

    def __init__(self, coupling: Coupling, steps: FoldedStep, like: tf.Tensor, compute_dtype: tf.DType):
        self.coupling = coupling
        self.steps = steps
        self.compute_dtype = compute_dtype
        self.depth = steps.matrix.shape[0]
        self.size = shape_of(like)[1:3]

    # One step's pieces

    def _step(self, k: tf.Tensor) -> FoldedStep:
        return slice_step(self.steps, k)

    def _net(self, folded: Folded, z: tf.Tensor) -> tuple[tf.Tensor, Activations]:
        return CouplingNet.apply(folded, z, self.compute_dtype)

    def _fold(self, net: Weights | Folded) -> Folded:
        return net if isinstance(net, Folded) else self.coupling.net.fold(net, *self.size)

    def _fold_taped(self, net: Weights | Folded) -> tuple[Folded, Callable[[Folded], Any]]:
        """(the folded network, the function from its gradients to the stored weights')."""
        with tf.GradientTape() as tape:
            tape.watch(tf.nest.flatten(net))
            folded = self._fold(net)
        return folded, lambda d_folded: tape.gradient(folded, net, output_gradients=d_folded)

    # Forward: x -> y

    def forward(self, x: tf.Tensor, memory: str) -> tuple[tf.Tensor, tf.Tensor, list[tf.TensorArray]]:
        """(y, the couplings' log_det [N], what `forward_gradient` needs) for x [N, H, W, C]."""

        def body(k: tf.Tensor, x: tf.Tensor, log_det: tf.Tensor, kept: list[tf.TensorArray]) -> tuple[Any, ...]:
            step = self._step(k)
            unchanged, changed = tf.split(per_pixel(x, step.matrix) + step.offset, 2, -1)
            h, activations = self._net(self._fold(step.net), unchanged)
            changed, step_log_det = self.coupling.couple(h, changed)
            values = {"store": [x, h, *activations], "checkpoint": [x], "reversible": []}[memory]
            kept = [array.write(k, value) for array, value in zip(kept, values, strict=True)]
            return k + 1, tf.concat([unchanged, changed], -1), log_det + step_log_det, kept

        size = {"store": 2 + len(Activations._fields), "checkpoint": 1, "reversible": 0}[memory]
        compute = self.compute_dtype
        dtypes = [x.dtype, x.dtype, compute, compute, compute][:size]
        kept = [tf.TensorArray(dtype, self.depth) for dtype in dtypes]
        _, y, log_det, kept = self._run(body, (0, x, per_example(x, 0.0), kept))
        return y, log_det, kept

    def forward_gradient(
        self,
        y: tf.Tensor,
        kept: list[tf.TensorArray],
        d_y: tf.Tensor,
        d_log_det: tf.Tensor,
        memory: str,
    ) -> tuple[tf.Tensor, ...]:
        """Gradients of x and of every tensor of the steps, flat; y and `kept` are what `forward` returned."""

        def body(k: tf.Tensor, y: tf.Tensor, d_y: tf.Tensor, gradients: list[tf.TensorArray]) -> tuple[Any, ...]:
            k -= 1
            step = self._step(k)
            folded, unfold = self._fold_taped(step.net)
            if memory == "reversible":
                unchanged, after = tf.split(y, 2, -1)
                h, activations = self._net(folded, unchanged)
                before, _ = self.coupling.uncouple(h, after)
                x = per_pixel(tf.concat([unchanged, before], -1), step.inverse) - step.bias
            else:
                x = kept[0].read(k)
                unchanged, before = tf.split(per_pixel(x, step.matrix) + step.offset, 2, -1)
                if memory == "store":
                    h, activations = (
                        kept[1].read(k),
                        Activations(*(array.read(k) for array in kept[2:])),
                    )
                else:
                    h, activations = self._net(folded, unchanged)
            d_unchanged, d_changed = tf.split(d_y, 2, -1)
            d_before, d_h = _elementwise_gradient(self.coupling.couple, h, before, d_changed, d_log_det)
            d_z, d_folded = CouplingNet.vjp(folded, activations, d_h)
            d_net = unfold(d_folded)
            d_u = tf.concat([d_unchanged + d_z, d_before], -1)
            d_x, d_matrix, d_offset = _affine_gradient(x, step.matrix, d_u)
            values = tf.nest.flatten([d_matrix, d_offset, d_net])
            gradients = [array.write(k, value) for array, value in zip(gradients, values, strict=True)]
            return k, x, d_x, gradients

        used = [self.steps.matrix, self.steps.offset, self.steps.net]
        _, _, d_x, gradients = self._run_back(body, y, d_y, used)
        d_matrix, d_offset, d_net = gradients
        return (d_x, *_flat_gradients(self.steps, matrix=d_matrix, offset=d_offset, net=d_net))

    # Inverse: y -> x

    def inverse(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(x, log_det [N] of the inverse couplings) for y [N, H, W, C]."""

        def body(k: tf.Tensor, y: tf.Tensor, log_det: tf.Tensor) -> tuple[Any, ...]:
            k -= 1
            step = self._step(k)
            unchanged, changed = tf.split(y, 2, -1)
            h, _ = self._net(self._fold(step.net), unchanged)
            changed, step_log_det = self.coupling.uncouple(h, changed)
            x = per_pixel(tf.concat([unchanged, changed], -1), step.inverse) - step.bias
            return k, x, log_det + step_log_det

        _, x, log_det = self._run(body, (self.depth, y, per_example(y, 0.0)), back=True)
        return x, log_det

    def inverse_gradient(self, x: tf.Tensor, d_x: tf.Tensor, d_log_det: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Gradients of y and of every tensor of the steps, flat; x is what `inverse` returned."""

        def body(k: tf.Tensor, x: tf.Tensor, d_x: tf.Tensor, gradients: list[tf.TensorArray]) -> tuple[Any, ...]:
            step = self._step(k)
            folded, unfold = self._fold_taped(step.net)
            u = per_pixel(x, step.matrix) + step.offset
            unchanged, before = tf.split(u, 2, -1)
            h, activations = self._net(folded, unchanged)
            after, _ = self.coupling.couple(h, before)
            d_u, d_inverse, d_offset = _affine_gradient(u, step.inverse, d_x)
            d_unchanged, d_before = tf.split(d_u, 2, -1)
            d_after, d_h = _elementwise_gradient(self.coupling.uncouple, h, after, d_before, d_log_det)
            d_z, d_folded = CouplingNet.vjp(folded, activations, d_h)
            d_net = unfold(d_folded)
            values = tf.nest.flatten([d_inverse, -d_offset, d_net])
            gradients = [array.write(k, value) for array, value in zip(gradients, values, strict=True)]
            y, d_y = tf.concat([unchanged, after], -1), tf.concat([d_unchanged + d_z, d_after], -1)
            return k + 1, y, d_y, gradients

        used = [self.steps.inverse, self.steps.bias, self.steps.net]
        _, _, d_y, gradients = self._run_back(body, x, d_x, used, back=False)
        d_inverse, d_bias, d_net = gradients
        return (d_y, *_flat_gradients(self.steps, inverse=d_inverse, bias=d_bias, net=d_net))

    # The loops themselves

    def _run(self, body: Callable[..., Any], state: tuple[Any, ...], *, back: bool = False) -> tuple[Any, ...]:
        more = (lambda k, *_: k > 0) if back else (lambda k, *_: k < self.depth)
        return tf.while_loop(more, body, state, parallel_iterations=1, maximum_iterations=self.depth)

    def _run_back(
        self,
        body: Callable[..., Any],
        value: tf.Tensor,
        d_value: tf.Tensor,
        used: list[Any],
        *,
        back: bool = True,
    ) -> tuple[Any, ...]:
        arrays = [tf.TensorArray(w.dtype, self.depth, element_shape=w.shape[1:]) for w in tf.nest.flatten(used)]
        start = self.depth if back else 0
        k, value, d_value, arrays = self._run(body, (start, value, d_value, arrays), back=back)
        return (
            k,
            value,
            d_value,
            tf.nest.pack_sequence_as(used, [array.stack() for array in arrays]),
        )


def _elementwise_gradient(
    function: Callable[..., Any],
    h: tf.Tensor,
    z: tf.Tensor,
    d_result: tf.Tensor,
    d_log_det: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """(d_z, d_h) of a coupling's elementwise function."""
    with tf.GradientTape() as tape:
        tape.watch([h, z])
        result = function(h, z)
    return tape.gradient(result, [z, h], output_gradients=[d_result, d_log_det])


def _affine_gradient(x: tf.Tensor, matrix: tf.Tensor, d_u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(d_x, d_matrix, d_offset) of u = x matrix + offset per pixel."""
    channels = matrix.shape[-1]
    rows, d_rows = tf.reshape(x, [-1, channels]), tf.reshape(d_u, [-1, channels])
    d_matrix = tf.matmul(rows, d_rows, transpose_a=True)
    return per_pixel(d_u, tf.transpose(matrix)), d_matrix, tf.reduce_sum(d_rows, 0)


def _flat_gradients(steps: FoldedStep, **given: Any) -> list[tf.Tensor | None]:
    """The gradients of `steps`, flat as tf.nest has it; None where a direction does not use a weight."""
    gradients: list[tf.Tensor | None] = []
    for name, weights in steps._asdict().items():
        gradients += tf.nest.flatten(given[name]) if name in given else [None] * len(tf.nest.flatten(weights))
    return gradients
