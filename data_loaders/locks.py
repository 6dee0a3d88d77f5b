"""Lock files: one process at a time, released however the process ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def locked(path: str, *, wait: bool = True) -> Iterator[None]:
    """Holds a lock file.

    Args:
      path: of the file, made where there is none and left there.
      wait: until another process lets go of it.

    Raises:
      BlockingIOError: another process holds it, and `wait` is False.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two processes may do the same work, and the last os.replace wins
        yield
        return
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
