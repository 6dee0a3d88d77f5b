"""Gradient memory strategies: what a level keeps of its steps until the backward pass.

  store       the start and the network's activations of every step; the backward pass recomputes almost nothing.
  checkpoint  the start of every step; the network is evaluated again (OpenAI's gradient checkpointing).
  reversible  nothing but the level's end. The backward pass recovers every step's start from its end, with one
              evaluation of the network that serves both the recovery and the gradient. Memory does not grow with
              depth, except for the weights and their gradients.

All three take the same vector-Jacobian product of the same step, so they give the same gradients.
"""

from __future__ import annotations

from glow_tf.flow.scan import Segment

_KEEP: dict[str, tuple[str, ...]] = {
    "store": ("start", "h", "windows", "hidden_1", "hidden_2"),
    "checkpoint": ("start",),
    "reversible": (),
}
MEMORY = tuple(_KEEP)


def segments_for(memory: str, depth: int) -> list[Segment]:
    """The segments of a level of `depth` steps for one of MEMORY."""
    return [Segment(depth, _KEEP[memory])]
