"""The one loop over a level's steps: apply all K in turn, keep what is asked for, differentiate.

The graph does not grow with K, and with nothing kept neither does memory: the backward loop then recovers every step's
start from its end. What is kept is a parameter, by segment of the K steps (see memory.py). The inverse of a level is
the same scan over `InverseStep`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from glow_tf.flow.folded import FoldedStep, Kept, StepMap
from glow_tf.flow.memory import Segment
from glow_tf.layers.tensors import per_example, slice_step

# An input that the backward pass recovers with this relative error is lost, and the gradient is that of another input:
# rounding to bfloat16, the coarsest arithmetic that networks are trained in, changes no more.
UNRECOVERED = 2.0**-8


def scan(
    step: StepMap,
    weights: FoldedStep,
    start: tf.Tensor,
    segments: Sequence[Segment],
    *,
    probe: tf.Tensor | None = None,
    differentiable: bool = True,
    jit: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies the K stacked steps to `start` [N, H, W, C].

    Args:
      step: one step's map; its context, if it has one, is the same for all steps, and is held once.
      weights: of K steps, every tensor [K, ...].
      start: x for a ForwardStep, y for an InverseStep.
      segments: of K steps together, in the order in which the steps are applied.
      probe: a scalar that changes nothing. Its "gradient" is how well `start` is recovered by the backward pass: the
        largest difference, relative to the largest magnitude; 0 where the first step's start is kept.
      differentiable: whether a gradient may be asked for. A SavedModel would hold it as graphs, twice its size.
      jit: whether XLA compiles the forward and the backward loops, each as a function of its own, so that a level's
        gradients are there as soon as its own backward loop has ended. Only inside a tf.function: called eagerly, the
        loops would be compiled at every call, so they are not.

    Returns:
      (the last step's result, the sum of the couplings' log_det [N]).
    """
    jit = jit and tf.inside_function()
    context = [] if step.context is None else [step.context]

    def loop(inputs: Sequence[tf.Tensor]) -> _Scan:
        given, flat = inputs[: len(context)], inputs[len(context) :]
        return _Scan(step.given(given), tf.nest.pack_sequence_as(weights, flat), segments)

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        return tf.function(function, jit_compile=True, autograph=False) if jit else function

    def forward(start: tf.Tensor, *inputs: tf.Tensor) -> tuple[Any, ...]:
        end, log_det, kept = loop(inputs).forward(start)
        # what XLA compiled returns tensors only
        return end, log_det, tf.nest.map_structure(lambda array: array.stack(), kept) if jit else kept

    def backward(end: tf.Tensor, kept: Any, d_end: tf.Tensor, d_log_det: tf.Tensor, *inputs: tf.Tensor) -> Any:
        return loop(inputs).backward(end, kept, d_end, d_log_det)

    def run(start: tf.Tensor, *others: tf.Tensor) -> tuple[Any, Callable[..., Any]]:
        inputs = others[len(probes) :]
        end, log_det, kept = compiled(forward)(start, *inputs)

        def gradient(*d_results: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            recovered, d_start, *d_inputs = compiled(backward)(end, kept, *d_results, *inputs)
            return d_start, *(difference(recovered, start) for _ in probes), *d_inputs

        return (end, log_det), gradient

    probes, inputs = [] if probe is None else [probe], [*context, *tf.nest.flatten(weights)]
    is_kept = "start" in next((segment.keep for segment in segments if segment.depth), ("start",))
    difference = _no_difference if is_kept else _difference
    return (tf.custom_gradient(run) if differentiable else lambda *given: run(*given)[0])(start, *probes, *inputs)


class _Scan:
    """One use of `scan`: its forward loops and, later, its backward loops, one for each segment."""

    def __init__(self, step: StepMap, weights: FoldedStep, segments: Sequence[Segment]):
        self.step, self.weights, self.depth = step, weights, weights.matrix.shape[0]
        depths = [segment.depth for segment in segments]
        if sum(depths) != self.depth:
            raise ValueError(f"segments of {depths} steps for a level of {self.depth}")
        begins = [sum(depths[:i]) for i in range(len(depths))]
        self.segments = [(begin, segment) for begin, segment in zip(begins, segments, strict=True) if segment.depth]

    def forward(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, list[list[tf.TensorArray]]]:
        """(the end, log_det, for each segment an array per field that is kept)."""
        log_det, kept = per_example(x, 0.0), []
        for begin, segment in self.segments:
            arrays = [tf.TensorArray(self.step.kept_dtype(name, x.dtype), segment.depth) for name in segment.keep]
            body = functools.partial(self._forward_step, begin, segment.keep)
            _, x, log_det, arrays = _loop(segment.depth, body, x, log_det, arrays)
            kept.append(arrays)
        return x, log_det, kept

    def _forward_step(
        self, begin: int, keep: tuple[str, ...], i: tf.Tensor, x: tf.Tensor, log_det: tf.Tensor, arrays: list[Any]
    ) -> tuple[Any, ...]:
        weights = self.step.prepare(slice_step(self.weights, self._index(begin, i)), x)
        x, more, values = self.step.apply(weights, x)
        arrays = [array.write(i, getattr(values, name)) for array, name in zip(arrays, keep, strict=True)]
        return i + 1, x, log_det + more, arrays

    def backward(
        self, end: tf.Tensor, kept: list[list[Any]], d_end: tf.Tensor, d_log_det: tf.Tensor
    ) -> tuple[tf.Tensor | None, ...]:
        """(The start recovered, gradients of it, the context if any, and the weights, flat; None for what is not used).

        What `forward` kept may be its arrays or, stacked, tensors.
        """
        used, context = self._used(self.weights), self.step.context
        d_context = [] if context is None else [tf.zeros_like(context)]  # a sum over the steps
        gradients = [tf.TensorArray(w.dtype, self.depth, element_shape=w.shape[1:]) for w in tf.nest.flatten(used)]
        for (begin, segment), arrays in reversed(list(zip(self.segments, kept, strict=True))):
            body = functools.partial(self._backward_step, begin, segment, arrays, d_log_det)
            _, end, d_end, d_context, gradients = _loop(segment.depth, body, end, d_end, d_context, gradients)
        stacked = tf.nest.pack_sequence_as(used, [array.stack() for array in gradients])
        flat: list[tf.Tensor | None] = []
        for name, value in self.weights._asdict().items():
            flat += tf.nest.flatten(stacked[name]) if name in stacked else [None] * len(tf.nest.flatten(value))
        return end, d_end, *d_context, *flat

    def _backward_step(
        self,
        begin: int,
        segment: Segment,
        arrays: list[Any],
        d_log_det: tf.Tensor,
        done: tf.Tensor,
        end: tf.Tensor,
        d_end: tf.Tensor,
        d_context: list[tf.Tensor],
        gradients: list[Any],
    ) -> tuple[Any, ...]:
        i = segment.depth - 1 - done
        k = self._index(begin, i)
        stored = slice_step(self.weights, k)
        with tf.GradientTape() as tape:
            tape.watch(tf.nest.flatten(stored))
            weights = self.step.prepare(stored, end)
        kept = Kept(**{name: _at(array, i) for name, array in zip(segment.keep, arrays, strict=True)})
        kept = self.step.undo(weights, end, kept)
        d_start, more, d_weights = self.step.vjp(weights, kept, d_end, d_log_det)
        d_context = [total + more for total in d_context]
        d_stored = tape.gradient(self._used(weights), self._used(stored), output_gradients=d_weights)
        values = tf.nest.flatten(d_stored)
        gradients = [array.write(k, value) for array, value in zip(gradients, values, strict=True)]
        return done + 1, kept.start, d_start, d_context, gradients

    def _index(self, begin: int, i: tf.Tensor) -> tf.Tensor:
        """The step at place i of the segment that begins at place `begin`."""
        return self.depth - 1 - begin - i if self.step.backwards else begin + i

    def _used(self, weights: FoldedStep) -> dict[str, Any]:
        return {name: getattr(weights, name) for name in self.step.used}


def _no_difference(kept: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    del kept
    return tf.zeros([], start.dtype)


def _difference(recovered: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The largest difference, relative to the largest magnitude."""
    scale = tf.maximum(tf.reduce_max(tf.abs(start)), start.dtype.as_numpy_dtype(1e-30))
    return tf.reduce_max(tf.abs(recovered - start)) / scale


def _at(kept: Any, i: tf.Tensor) -> tf.Tensor:
    """Element i of an array, or of a stacked tensor."""
    return kept.read(i) if isinstance(kept, tf.TensorArray) else slice_step(kept, i)


def _loop(times: int, body: Callable[..., Any], *state: Any) -> tuple[Any, ...]:
    """`body`(i, *state) for i = 0, 1, ...; one step at a time, or memory would hold several."""
    return tf.while_loop(lambda i, *_: i < times, body, (0, *state), parallel_iterations=1)
