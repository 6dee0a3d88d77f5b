"""A level: K flow steps over stacked weights in one loop (paper, section 3 and figure 2b)."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from glow_tf import runtime
from glow_tf.flow.folded import FoldedStep, ForwardStep, InverseStep, StepMap
from glow_tf.flow.memory import LevelMemory, segments_for
from glow_tf.flow.scan import scan
from glow_tf.flow.step import FlowStep
from glow_tf.layers.base import Part
from glow_tf.layers.conditional import checked_context
from glow_tf.layers.coupling import Coupling
from glow_tf.layers.products import Arithmetic
from glow_tf.layers.tensors import pixels, slice_step


class FoldedLevel(NamedTuple):
    """What a level's weights come to.

    steps: of the K steps, stacked. log_det_per_pixel: of their actnorms and permutations, a sum over the steps, scalar.
    condition: how near each 1x1 convolution is to singular, float64 [K] (see `condition_number`); None without any.
    """

    steps: FoldedStep
    log_det_per_pixel: tf.Tensor
    condition: tf.Tensor | None


class Level:
    """K steps of flow in one loop; a subclass has their folded weights.

    Attributes:
      name: for errors.
      channels: C of what it takes.
      coupling: whose weights are not used, only its functions.
      compute_dtype: of the coupling networks' matrix products unless a call says another.
      differentiable: whether gradients may be asked for.
      jit: whether XLA compiles the loops (see scan.py).
    """

    name: str
    channels: int
    coupling: Coupling
    compute_dtype: Arithmetic
    differentiable = True
    jit = False

    def folded(self) -> FoldedLevel:
        """The weights as the scan uses them."""
        raise NotImplementedError

    def forward(
        self, x: tf.Tensor, memory: LevelMemory = "reversible", compute_dtype: Any = None, context: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(y, log_det [N]) of the K steps in turn; x and y [N, H, W, C]; compute_dtype overrides the steps'.

        The context [N, H, W, C'], where there is one, is given to the network of every step.

        Raises:
          ValueError: memory is unknown, or x or the context has another rank, size or number of channels.
        """
        return self.forward_folded(self.folded(), x, memory, compute_dtype, context=context)

    def forward_folded(
        self,
        folded: FoldedLevel,
        x: tf.Tensor,
        memory: LevelMemory = "reversible",
        compute_dtype: Any = None,
        probe: tf.Tensor | None = None,
        context: Any = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`forward` with the weights that `folded` returned, for callers who want its condition, or a `probe`, too."""
        return self._run(ForwardStep, folded, x, memory, compute_dtype, context, probe)

    def inverse(
        self, y: tf.Tensor, memory: LevelMemory = "reversible", compute_dtype: Any = None, context: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(x, log_det [N] of the inverse map); arguments and errors as `forward`."""
        return self._run(InverseStep, self.folded(), y, memory, compute_dtype, context)

    def _run(
        self,
        kind: type[StepMap],
        folded: FoldedLevel,
        start: Any,
        memory: LevelMemory,
        compute_dtype: Any,
        context: Any,
        probe: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        try:
            segments = segments_for(memory, folded.steps.matrix.shape[0])
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        start = self._checked(start)
        context = checked_context(self.name, self.coupling.context_channels, context, start)
        step = kind(self.coupling, Arithmetic.of(compute_dtype or self.compute_dtype), context)
        steps = folded.steps
        if runtime.uses_gpu():  # folded once for all steps: fewer kernels, and more memory
            steps = step.prepare(steps, start)
        options = {"differentiable": self.differentiable, "jit": self.jit}
        end, log_det = scan(step, steps, start, segments, probe=probe, **options)
        sign = -1.0 if kind.backwards else 1.0
        return end, log_det + sign * pixels(start) * folded.log_det_per_pixel

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
      jit: whether XLA compiles the loops where they are traced in a tf.function.
      channels, width and the rest: as FlowStep.
    """

    def __init__(self, depth: int, channels: int, width: int, *, name: str, jit: bool = False, **step: Any):
        super().__init__(name=name)
        self.depth = depth
        self.jit = jit
        self.channels = channels
        self.step = FlowStep(channels, width, stack=depth, name=name, **step)

    @property
    def coupling(self) -> Coupling:  # type: ignore[override]
        return self.step.coupling

    @property
    def compute_dtype(self) -> Arithmetic:  # type: ignore[override]
        return self.step.coupling.compute_dtype

    def folded(self) -> FoldedLevel:
        steps, log_det_per_pixel, condition = self.step.fold(self.step.weights())
        return FoldedLevel(steps, tf.reduce_sum(log_det_per_pixel), condition)

    def folded_for(self, height: int, width: int) -> FoldedLevel:
        """`folded`, with the coupling networks folded too, for images [N, height, width, C]; no condition."""
        folded = self.folded()
        net = self.coupling.net.fold(folded.steps.net, height, width)
        return FoldedLevel(folded.steps._replace(net=net), folded.log_det_per_pixel, None)

    def initialize(self, x: tf.Tensor, context: Any = None) -> tf.Tensor:
        """Data-dependent initialisation of every step in turn; returns the last one's output."""
        context = checked_context(self.name, self.coupling.context_channels, context, x)
        stacked = self.step.weights()
        wanted = self.step.weights_set_by_data()
        arrays = [tf.TensorArray(value.dtype, self.depth) for value in tf.nest.flatten(wanted)]

        def body(k: tf.Tensor, x: tf.Tensor, arrays: list[tf.TensorArray]) -> tuple[Any, ...]:
            values, x, _ = self.step.initialize_with(slice_step(stacked, k), x, context)
            tf.nest.assert_same_structure(values, wanted)
            written = [array.write(k, value) for array, value in zip(arrays, tf.nest.flatten(values), strict=True)]
            return k + 1, x, written

        _, x, arrays = tf.while_loop(lambda k, *_: k < self.depth, body, (0, x, arrays), parallel_iterations=1)
        self.step.assign_weights(tf.nest.pack_sequence_as(wanted, [array.stack() for array in arrays]))
        return x
