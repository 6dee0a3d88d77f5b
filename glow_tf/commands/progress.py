"""How far a command is, on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

_EVERY = 10.0  # seconds between plain lines


class Progress:
    """A context; `update(n)` counts n more of `total`.

    Args:
      what: e.g. "evaluating".
      total: how many there are.
      unit: of what, e.g. "image".
    """

    def __init__(self, what: str, total: int, unit: str = "image") -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done, self._begin = 0, time.monotonic()
        self._last = self._begin
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm

                self._bar = tqdm(desc=self._what, total=self._total, unit=self._unit, leave=False)
            except ImportError:  # an extra; plain lines do without
                pass
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, n: int, remark: str = "") -> None:
        """Counts n more; `remark` is shown beside them."""
        self._done += n
        if self._bar is not None:
            self._bar.set_postfix_str(remark, refresh=False)
            self._bar.update(n)
            return
        now = time.monotonic()
        if now - self._last < _EVERY or self._done >= self._total:
            return
        self._last = now
        left = (now - self._begin) / self._done * (self._total - self._done)
        text = f"{self._what}: {self._done} of {self._total} {self._unit}s, {left:.0f} s left"
        print(text + (f", {remark}" if remark else ""), file=sys.stderr, flush=True)
