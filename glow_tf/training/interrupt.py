"""Ctrl-C and SIGTERM end a run between two steps, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Stopper:
    """While it is entered, the first SIGINT or SIGTERM only asks to stop; a second Ctrl-C ends at once.

    `exit_code` is what shells and schedulers expect then: 130 after SIGINT, 143 after SIGTERM.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether this process was asked to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """0, or 128 + the signal's number."""
        return 0 if self.signal is None else 128 + self.signal

    def __enter__(self) -> Stopper:
        if threading.current_thread() is threading.main_thread():  # others cannot have handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
