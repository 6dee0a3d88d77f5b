"""A flow step: actnorm, permutation, coupling (paper, section 3 and figure 2a)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.flow.folded import FoldedStep
from glow_tf.layers.actnorm import ActNorm
from glow_tf.layers.base import Layer, Weights, scale_of
from glow_tf.layers.conditional import ConditionalLayer
from glow_tf.layers.coupling import AdditiveCoupling, AffineCoupling, Coupling
from glow_tf.layers.invertible_conv import InvertibleConv1x1, InvertibleConv1x1LU, condition_number
from glow_tf.layers.permutation import ReversePermutation, ShufflePermutation
from glow_tf.layers.products import product
from glow_tf.layers.tensors import per_example

_PERMUTATIONS = {
    "reverse": ReversePermutation,
    "shuffle": ShufflePermutation,
    "invconv": InvertibleConv1x1,
}
_COUPLINGS: dict[str, type[Coupling]] = {"additive": AdditiveCoupling, "affine": AffineCoupling}


class FlowStep(ConditionalLayer):
    """One step of flow: actnorm, then permutation, then coupling.

    Function: y = coupling(permutation(actnorm(x))).
    Reverse: x = actnorm^-1(permutation^-1(coupling^-1(y))).
    Log-determinant: the sum of the three layers'.

    x and y: [N, H, W, C], C even. A context [N, H, W, C'] goes to the coupling's network. Source: paper, figure 2a;
    `revnet2d_step` in OpenAI's model.py.

    Args:
      channels: C.
      width: hidden channels of the coupling network.
      permutation: "reverse", "shuffle" or "invconv".
      coupling: "additive" or "affine".
      lu_decomposed: the 1x1 convolution is stored as its LU decomposition.
      compute_dtype: of the coupling network's matrix products; dtype unless given.
      context_channels: of the context; 0 for none.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        permutation: str = "invconv",
        coupling: str = "affine",
        lu_decomposed: bool = False,
        compute_dtype: Any = None,
        **part: Any,
    ):
        super().__init__(channels, **part)
        for value, allowed in ((permutation, _PERMUTATIONS), (coupling, _COUPLINGS)):
            if value not in allowed:
                raise ValueError(f"{self.name}: {value!r} is unknown; allowed are {', '.join(allowed)}")
        if lu_decomposed and permutation != "invconv":
            raise ValueError(f"{self.name}: lu_decomposed needs permutation 'invconv', not {permutation!r}")
        mixing = InvertibleConv1x1LU if lu_decomposed else _PERMUTATIONS[permutation]
        self.add_part("actnorm", ActNorm, channels)
        self.add_part("permutation", mixing, channels)
        kind, given = _COUPLINGS[coupling], self.context_channels
        self.add_part("coupling", kind, channels, width, compute_dtype=compute_dtype, context_channels=given)

    @property
    def layers(self) -> list[tuple[str, Layer]]:
        """The three, with their names, in the order of `forward`."""
        return [(name, getattr(self, name)) for name in ("actnorm", "permutation", "coupling")]

    def given(self, layer: Layer, context: tf.Tensor | None) -> list[tf.Tensor]:
        """What one of the three is given besides its weights and input: the context, if it takes one."""
        return [context] if context is not None and layer is self.coupling else []

    def forward_with(
        self, weights: Weights, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        total = per_example(x, 0.0)
        for name, layer in self.layers:
            x, log_det = layer.forward_with(weights[name], x, *self.given(layer, context))
            total += log_det
        return x, total

    def inverse_with(
        self, weights: Weights, y: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        total = per_example(y, 0.0)
        for name, layer in reversed(self.layers):
            y, log_det = layer.inverse_with(weights[name], y, *self.given(layer, context))
            total += log_det
        return y, total

    def initialize_with(
        self, weights: Weights, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[dict[str, Any], tf.Tensor, tf.Tensor]:
        values, total = {}, per_example(x, 0.0)
        for name, layer in self.layers:
            values[name], x, log_det = layer.initialize_with(weights[name], x, *self.given(layer, context))
            total += log_det
        return {name: value for name, value in values.items() if value}, x, total

    def fold(self, weights: Weights) -> tuple[FoldedStep, tf.Tensor, tf.Tensor | None]:
        """(the weights as the scan uses them, log|det| per pixel of actnorm and permutation, condition number).

        Weights may be stacked, and the results then are. The condition number is a 1x1 convolution's, else None.
        """
        bias, scale = weights["actnorm"]["b"], scale_of(weights["actnorm"]["logs"])
        matrix, inverse, log_det = self.permutation.matrices(weights["permutation"])
        learned = isinstance(self.permutation, InvertibleConv1x1)
        condition = condition_number(matrix, inverse) if learned else None
        folded = FoldedStep(
            matrix=tf.expand_dims(scale, -1) * matrix,
            offset=tf.squeeze(product(matrix, tf.expand_dims(bias * scale, -1), transpose_a=True), -1),
            inverse=inverse / tf.expand_dims(scale, -2),
            bias=bias,
            net=self.coupling.net.scaled(weights["coupling"]["net"]),
        )
        return folded, log_det + ActNorm.log_det_per_pixel(weights["actnorm"]), condition
