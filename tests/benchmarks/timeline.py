"""What a Horovod timeline says of the gradients' reductions: when each was ready, and when it was reduced.

Rank 0 writes the timeline (`horovodrun --timeline-filename FILE`). In it every tensor has, for each step, a phase
NEGOTIATE_ALLREDUCE, from when rank 0 has the tensor until all ranks have it, and then a phase ALLREDUCE. The thread
that notes this is the one that reduces, so whatever becomes ready during a reduction is noted after it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class Reduction(NamedTuple):
    """One tensor in one step; times in seconds since 1970.

    Attributes:
      tensor: its name.
      ready: rank 0 has it.
      begin: all ranks have it, and its reduction begins.
      end: it is reduced.
    """

    tensor: str
    ready: float
    begin: float
    end: float


def read_steps(path: Path, prefix: str = "gradient/") -> list[list[Reduction]]:
    """The reductions of the tensors with this prefix, by step and by when they were ready; without the last step."""
    text = path.read_text().rstrip().removesuffix("]").rstrip().rstrip(",")  # a job that was cut off wrote no end
    events: list[dict[str, Any]] = json.loads(text + "]")
    names: dict[int, str] = {}
    phases: dict[int, list[tuple[str, float]]] = {}  # begun and not ended, of each tensor
    ready: dict[int, float] = {}
    steps: list[list[Reduction]] = []
    count: dict[int, int] = {}
    began = 0.0
    for event in events:
        tensor, time = event["pid"], began + event.get("ts", 0) / 1e6
        if event["ph"] == "M":
            began = event["args"].get("start_time_since_epoch_in_micros", 1e6 * began) / 1e6
            names[tensor] = event["args"].get("name", names.get(tensor, ""))
        elif event["ph"] == "B":
            phases.setdefault(tensor, []).append((event["name"], time))
            if event["name"] == "NEGOTIATE_ALLREDUCE":
                ready[tensor] = time
        elif event["ph"] == "E":
            phase, begin = phases[tensor].pop()
            if phase == "ALLREDUCE" and names[tensor].startswith(prefix):
                step = count.get(tensor, 0)
                count[tensor] = step + 1
                steps += [[]] * (step == len(steps))
                steps[step] = [*steps[step], Reduction(names[tensor], ready[tensor], begin, time)]
    whole = steps[:-1]  # of the last step the end of the job may cut something off
    return [sorted(step, key=lambda reduction: reduction.ready) for step in whole]


def overlap(step: list[Reduction], computed: float) -> tuple[float, float]:
    """(seconds of reduction before `computed`, when the last rank had its last gradient; seconds of reduction)."""
    during = total = reached = 0.0
    for reduction in sorted(step, key=lambda reduction: reduction.begin):
        begin, end = max(reduction.begin, reached), max(reduction.end, reached)  # no second counts twice
        total += end - begin
        during += max(0.0, min(end, computed) - begin)
        reached = end
    return during, total
