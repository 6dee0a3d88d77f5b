"""Gradient memory strategies: what a level keeps of its steps until the backward pass. No TensorFlow here.

  store       the start and the network's activations of every step; the backward pass recomputes almost nothing.
  checkpoint  the start of every step; the network is evaluated again (OpenAI's gradient checkpointing).
  reversible  nothing but the level's end. The backward pass recovers every step's start from its end, with one
              evaluation of the network that serves both the recovery and the gradient. Memory does not grow with
              depth, except for the weights and their gradients.

Between `reversible` and `store` lies any sequence of segments, each of which keeps some of the fields (see budget.py).
All take the same vector-Jacobian product of the same step, so they give the same gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Segment(NamedTuple):
    """Some steps in a row, and the fields of `Kept` (folded.py) that are kept of each for the gradient."""

    depth: int
    keep: tuple[str, ...]


LevelMemory = str | Sequence[Segment]  # one of MEMORY, or segments in the order in which the steps are applied
Memory = str | Sequence[Sequence[Segment]]  # one of MEMORY, or every level's segments

EVERYTHING = ("start", "h", "windows", "hidden_1", "hidden_2")
_KEEP: dict[str, tuple[str, ...]] = {"store": EVERYTHING, "checkpoint": ("start",), "reversible": ()}
MEMORY = tuple(_KEEP)


def segments_for(memory: LevelMemory, depth: int) -> Sequence[Segment]:
    """The segments of a level of `depth` steps.

    Raises:
      ValueError: the strategy is unknown; the message begins with `memory=`.
    """
    if not isinstance(memory, str):
        return memory
    if memory not in _KEEP:
        raise ValueError(f"memory={memory!r} is unknown; allowed are {', '.join(MEMORY)}")
    return [Segment(depth, _KEEP[memory])]


def of_level(memory: Memory, level: int) -> LevelMemory:
    """What a model's memory is for one of its levels."""
    return memory if isinstance(memory, str) else memory[level]
