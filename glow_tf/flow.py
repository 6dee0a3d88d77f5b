"""A flow step, and a level: K steps over stacked weights in one loop (paper, section 3 and figure 2)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf import singularity
from glow_tf.layers.actnorm import ActNorm
from glow_tf.layers.base import Layer, Part, Weights, scale_of
from glow_tf.layers.coupling import AdditiveCoupling, AffineCoupling, Coupling
from glow_tf.layers.invertible_conv import InvertibleConv1x1, InvertibleConv1x1LU
from glow_tf.layers.permutation import ReversePermutation, ShufflePermutation
from glow_tf.layers.tensors import per_example, pixels, step_of
from glow_tf.loops import FoldedStep
from glow_tf.memory import MEMORY, level_forward, level_inverse

_PERMUTATIONS = {
    "reverse": ReversePermutation,
    "shuffle": ShufflePermutation,
    "invconv": InvertibleConv1x1,
}
_COUPLINGS: dict[str, type[Coupling]] = {"additive": AdditiveCoupling, "affine": AffineCoupling}


class FlowStep(Layer):
    """One step of flow: actnorm, then permutation, then coupling.

    Function: y = coupling(permutation(actnorm(x))).
    Reverse: x = actnorm^-1(permutation^-1(coupling^-1(y))).
    Log-determinant: the sum of the three layers'.

    x and y: [N, H, W, C], C even. Source: paper, figure 2a; `revnet2d_step` in the original's model.py.

    Args:
      channels: C.
      width: hidden channels of the coupling network.
      permutation: "reverse", "shuffle" or "invconv".
      coupling: "additive" or "affine".
      lu_decomposed: the 1x1 convolution is stored as its LU decomposition.
      compute_dtype: of the coupling network's matrix products; dtype unless given.
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
        self.add_part("coupling", _COUPLINGS[coupling], channels, width, compute_dtype=compute_dtype)

    @property
    def layers(self) -> list[tuple[str, Layer]]:
        """The three, with their names, in the order of `forward`."""
        return [(name, getattr(self, name)) for name in ("actnorm", "permutation", "coupling")]

    def forward_with(self, weights: Weights, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        total = per_example(x, 0.0)
        for name, layer in self.layers:
            x, log_det = layer.forward_with(weights[name], x)
            total += log_det
        return x, total

    def inverse_with(self, weights: Weights, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        total = per_example(y, 0.0)
        for name, layer in reversed(self.layers):
            y, log_det = layer.inverse_with(weights[name], y)
            total += log_det
        return y, total

    def initialize_with(self, weights: Weights, x: tf.Tensor) -> tuple[dict[str, Any], tf.Tensor, tf.Tensor]:
        values, total = {}, per_example(x, 0.0)
        for name, layer in self.layers:
            values[name], x, log_det = layer.initialize_with(weights[name], x)
            total += log_det
        return {name: value for name, value in values.items() if value}, x, total

    def fold(self, weights: Weights) -> tuple[FoldedStep, tf.Tensor]:
        """(the weights as the loops use them, log|det| per pixel of actnorm and permutation); stacked or not."""
        bias, scale = weights["actnorm"]["b"], scale_of(weights["actnorm"]["logs"])
        matrix, inverse, log_det = self.permutation.matrices(weights["permutation"])
        if isinstance(self.permutation, InvertibleConv1x1):
            singularity.watch(matrix, inverse)
        folded = FoldedStep(
            matrix=tf.expand_dims(scale, -1) * matrix,
            offset=tf.linalg.matvec(matrix, bias * scale, transpose_a=True),
            inverse=inverse / tf.expand_dims(scale, -2),
            bias=bias,
            net=weights["coupling"]["net"],
        )
        return folded, log_det + ActNorm.log_det_per_pixel(weights["actnorm"])


class Level:
    """K steps of flow in one loop; a subclass has their folded weights.

    Attributes:
      name: for errors.
      channels: C of what it takes.
      coupling: whose weights are not used, only its functions.
      compute_dtype: of the coupling networks' matrix products unless a call says another.
    """

    name: str
    channels: int
    coupling: Coupling
    compute_dtype: tf.DType

    def folded(self) -> tuple[FoldedStep, tf.Tensor]:
        """(the steps' stacked weights, log|det| per pixel of their actnorms and permutations, a sum over the steps)."""
        raise NotImplementedError

    def forward(
        self, x: tf.Tensor, memory: str = "reversible", compute_dtype: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(y, log_det [N]) of the K steps in turn; x and y [N, H, W, C]; compute_dtype overrides the steps'.

        Raises:
          ValueError: memory is unknown, or x has another rank or number of channels.
        """
        if memory not in MEMORY:
            raise ValueError(f"{self.name}: memory={memory!r} is unknown; allowed are {', '.join(MEMORY)}")
        x = self._checked(x)
        steps, log_det_per_pixel = self.folded()
        y, log_det = level_forward(self.coupling, steps, x, memory, tf.as_dtype(compute_dtype or self.compute_dtype))
        return y, log_det + pixels(x) * log_det_per_pixel

    def inverse(self, y: tf.Tensor, compute_dtype: Any = None) -> tuple[tf.Tensor, tf.Tensor]:
        """(x, log_det [N] of the inverse map); its gradient always recomputes, as memory="reversible"."""
        y = self._checked(y)
        steps, log_det_per_pixel = self.folded()
        x, log_det = level_inverse(self.coupling, steps, y, tf.as_dtype(compute_dtype or self.compute_dtype))
        return x, log_det - pixels(y) * log_det_per_pixel

    def _checked(self, x: Any) -> tf.Tensor:
        x = tf.convert_to_tensor(x)
        wanted = f"{self.name} takes {self.coupling.dtype.name} images [N, H, W, {self.channels}]"
        if x.dtype != self.coupling.dtype:
            raise ValueError(f"{wanted}, not {x.dtype.name}")
        if x.shape.rank != 4 or x.shape[-1] != self.channels:
            raise ValueError(f"{wanted}, not shape {x.shape}")
        return x


class FlowLevel(Level, Part):
    """K flow steps of equal shape: their weights are stacked, and one loop runs them.

    The graph does not grow with K, and neither do tracing time and the number of gradients. `memory` says what the
    forward loop keeps for the gradient (see memory.py).

    Args:
      depth: K.
      channels, width and the rest: as FlowStep.
    """

    def __init__(self, depth: int, channels: int, width: int, *, name: str, **step: Any):
        super().__init__(name=name)
        self.depth = depth
        self.channels = channels
        self.step = FlowStep(channels, width, stack=depth, name=name, **step)

    @property
    def coupling(self) -> Coupling:  # type: ignore[override]
        return self.step.coupling

    @property
    def compute_dtype(self) -> tf.DType:
        return self.step.coupling.compute_dtype

    def folded(self) -> tuple[FoldedStep, tf.Tensor]:
        steps, log_det_per_pixel = self.step.fold(self.step.weights())
        return steps, tf.reduce_sum(log_det_per_pixel)

    def initialize(self, x: tf.Tensor) -> tf.Tensor:
        """Data-dependent initialisation of every step in turn; returns the last one's output."""
        stacked = self.step.weights()
        wanted = self.step.weights_set_by_data()
        arrays = [tf.TensorArray(value.dtype, self.depth) for value in tf.nest.flatten(wanted)]

        def body(k: tf.Tensor, x: tf.Tensor, arrays: list[tf.TensorArray]) -> tuple[Any, ...]:
            values, x, _ = self.step.initialize_with(step_of(stacked, k), x)
            tf.nest.assert_same_structure(values, wanted)
            written = [array.write(k, value) for array, value in zip(arrays, tf.nest.flatten(values), strict=True)]
            return k + 1, x, written

        _, x, arrays = tf.while_loop(
            lambda k, *_: k < self.depth,
            body,
            (0, x, arrays),
            parallel_iterations=1,
            maximum_iterations=self.depth,
        )
        self.step.assign_weights(tf.nest.pack_sequence_as(wanted, [array.stack() for array in arrays]))
        return x
