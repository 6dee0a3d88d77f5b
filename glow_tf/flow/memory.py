"""How a level's gradient is had: what its forward loop keeps, and what its backward loop computes again.

  store       keeps the input and the network's activations of every step; the backward loop recomputes almost nothing.
  checkpoint  keeps the input of every step and evaluates its network again (the original's gradient checkpointing).
  reversible  keeps the level's output only. The backward loop recovers every step's input from its output, with one
              evaluation of the network that serves both the inversion and the gradient. Memory does not grow with
              depth, but for the weights and their gradients.

All three take the same vector-Jacobian product of the same step, so they give the same gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from glow_tf.flow.scan import FoldedStep, Loops
from glow_tf.layers.coupling import Coupling
from glow_tf.layers.gradients import custom_gradient

MEMORY = ("store", "checkpoint", "reversible")


def level_forward(
    coupling: Coupling, steps: FoldedStep, x: tf.Tensor, memory: str, compute_dtype: tf.DType
) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies the K stacked `steps` to x [N, H, W, C]; (y, the couplings' log_det [N])."""
    flat = tf.nest.flatten(steps)

    @custom_gradient
    def run(x: tf.Tensor, *flat: tf.Tensor) -> tuple[Any, Callable[..., Any]]:
        loop = Loops(coupling, tf.nest.pack_sequence_as(steps, flat), x, compute_dtype)
        y, log_det, kept = loop.forward(x, memory)

        def gradient(d_y: tf.Tensor, d_log_det: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return loop.forward_gradient(y, kept, d_y, d_log_det, memory)

        return (y, log_det), gradient

    return run(x, *flat)


def level_inverse(
    coupling: Coupling, steps: FoldedStep, y: tf.Tensor, compute_dtype: tf.DType
) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies the inverse of `level_forward` to y [N, H, W, C]; (x, log_det [N] of the inverse couplings)."""
    flat = tf.nest.flatten(steps)

    @custom_gradient
    def run(y: tf.Tensor, *flat: tf.Tensor) -> tuple[Any, Callable[..., Any]]:
        loop = Loops(coupling, tf.nest.pack_sequence_as(steps, flat), y, compute_dtype)
        x, log_det = loop.inverse(y)

        def gradient(d_x: tf.Tensor, d_log_det: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return loop.inverse_gradient(x, d_x, d_log_det)

        return (x, log_det), gradient

    return run(y, *flat)
