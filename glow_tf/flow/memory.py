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

import re
from collections.abc import Sequence
from typing import NamedTuple

from glow_tf.config import ConfigError


class Segment(NamedTuple):
    """Some steps in a row, and the fields of `Kept` (folded.py) that are kept of each for the gradient."""

    depth: int
    keep: tuple[str, ...]


LevelMemory = str | Sequence[Segment]  # one of MEMORY, or segments in the order in which the steps are applied
Memory = str | Sequence[Sequence[Segment]]  # one of MEMORY, or every level's segments

EVERYTHING = ("start", "h", "windows", "hidden_1", "hidden_2")
_KEEP: dict[str, tuple[str, ...]] = {"store": EVERYTHING, "checkpoint": ("start",), "reversible": ()}
MEMORY = tuple(_KEEP)
AUTO = "auto"
_NOTHING, _ALL = "none", "all"
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]*)", re.IGNORECASE)
_UNITS = {
    "B": 1,
    **{f"{p}B": 1000**i for i, p in enumerate("kMGT", 1)},
    **{f"{p}iB": 1024**i for i, p in enumerate("KMGT", 1)},
}


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


def parse_memory(text: str) -> str | int | Memory:
    """What a user asks for: "auto", one of MEMORY, bytes for a size such as 6GiB, or what `spelled` returned.

    Raises:
      ConfigError: it is none of them.
    """
    if text == AUTO or text in _KEEP:
        return text
    if match := _SIZE.fullmatch(text):
        units = {unit.lower(): size for unit, size in _UNITS.items()}
        if match[2].lower() not in units:
            raise ConfigError(f"memory is {text!r}: its unit must be one of {', '.join(_UNITS)}")
        return int(float(match[1]) * units[match[2].lower()])
    if ":" in text:
        return as_memory(text)
    raise ConfigError(f"memory is {text!r}; allowed are auto, a size such as 6GiB or 500MB, {', '.join(MEMORY)}")


def spelled(memory: Memory) -> str:
    """One line for config.json: a name, or every level's segments, such as none:20,h+hidden_2:12/all:32."""
    if isinstance(memory, str):
        return memory
    kept = {segment.keep for segments in memory for segment in segments}
    for name, keep in _KEEP.items():
        if kept == {keep}:
            return name
    return "/".join(",".join(f"{_fields(keep)}:{depth}" for depth, keep in segments) for segments in memory)


def in_words(memory: Memory) -> str:
    """What is kept, for people."""
    if isinstance(memory, str) or ":" not in (name := spelled(memory)):
        return spelled(memory)
    segments = [segment for level in memory for segment in level]
    kept = sum(segment.depth for segment in segments if segment.keep)
    return f"{kept} of {sum(segment.depth for segment in segments)} steps keep activations ({name})"


def _fields(keep: tuple[str, ...]) -> str:
    return _NOTHING if not keep else _ALL if keep == EVERYTHING else "+".join(keep)


def as_memory(text: str) -> Memory:
    """The inverse of `spelled`. Raises ConfigError: the text is wrong."""
    if text in _KEEP:
        return text
    names = {_NOTHING: (), _ALL: EVERYTHING}
    levels = []
    for level in text.split("/"):
        segments = []
        for segment in level.split(","):
            fields, _, depth = segment.partition(":")
            keep = names.get(fields, tuple(fields.split("+")))
            if not depth.isdigit() or not set(keep) <= set(EVERYTHING):
                raise ConfigError(
                    f"memory is {text!r}: {segment!r} is no FIELDS:STEPS; fields are {', '.join(EVERYTHING)}"
                )
            segments.append(Segment(int(depth), keep))
        levels.append(tuple(segments))
    return tuple(levels)


def check_fits(memory: int | Memory, n_levels: int, depth: int) -> None:
    """Raises ConfigError unless segments are of so many levels with so many steps each."""
    if isinstance(memory, (int, str)):
        return
    found = [sum(segment.depth for segment in segments) for segments in memory]
    if found != [depth] * n_levels:
        raise ConfigError(f"memory has levels of {found} steps, the model {n_levels} of {depth}")


def size_text(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
