"""The processor cores that this process may use. No TensorFlow here."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """How many there are for it, where the system says so; else how many the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Images that are decoded at once where nobody says: as many as cores, at most 16."""
    return min(usable_cores(), 16)
