"""How far something is that takes a while: tqdm's bar on a terminal, a plain line now and then elsewhere.

tqdm alone would redraw its bar in log files too. It is an extra: without it, plain lines do on terminals as well.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

SECONDS = 10.0  # between plain lines
_REMARK_SECONDS = 0.5  # between the remarks beside a bar


class Progress:
    """A context; `update(n)` counts n more of `total`.

    Args:
      what: e.g. "evaluating".
      total: how many there are; None where that is not known.
      unit: of what, e.g. "image"; bytes, "B", are shown in MB.
      done: how many were done before.
      shown: False shows nothing at all (all workers but the first).
    """

    def __init__(self, what: str, total: int | None, unit: str = "image", *, done: int = 0, shown: bool = True) -> None:
        self._what, self._total, self._unit, self._shown = what, total, unit, shown
        self._done = self._first = done
        self._begin = self._last = time.monotonic()
        self._bar: Any = None
        if shown and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(desc=what, total=total, initial=done, unit=unit, unit_scale=unit == "B", leave=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, n: int = 1, remark: str | Callable[[], str] = "") -> None:
        """Counts n more; `remark`, or what it returns, is shown beside them."""
        self._done += n
        if not self._shown:
            return
        if self._bar is not None:
            self._bar.update(n)
        now = time.monotonic()
        ended = self._total is not None and self._done >= self._total
        if now - self._last < (SECONDS if self._bar is None else _REMARK_SECONDS) or ended:
            return
        self._last = now
        remark = remark if isinstance(remark, str) else remark()
        if self._bar is not None:
            self._bar.set_postfix_str(remark)
            return
        line = f"{self._what}: {self._counts(now)}" + (f", {remark}" if remark else "")
        print(line, file=sys.stderr, flush=True)

    def _counts(self, now: float) -> str:
        """How many are done, of how many, and how long the others will take."""
        if self._total is None:
            return f"{self._done} {self._unit}s"
        counts = f"{self._done} of {self._total} {self._unit}s"
        if self._unit == "B":
            counts = f"{self._done / 1e6:.0f} of {self._total / 1e6:.0f} MB"
        left = (now - self._begin) / (self._done - self._first) * (self._total - self._done)
        return f"{counts}, {duration(left)} left"

    def say(self, line: str) -> None:
        """Prints a line to stdout, above the bar if there is one."""
        if self._shown and self._bar is not None:
            self._bar.write(line, file=sys.stdout)
        elif self._shown:
            print(line, flush=True)

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def duration(seconds: float) -> str:
    """Minutes and seconds; with hours, and as days from two days on."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
