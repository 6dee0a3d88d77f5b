"""Reading files that may be anything: bounded, regular files only, errors that name them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from data_loaders.errors import DataError


def read_bounded(path: str, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Raises:
      DataError: no such file, no regular one (a pipe would block for ever), unreadable, or larger.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise DataError(f"{path} is not a regular file.")
            if info.st_size > limit:
                raise DataError(f"{path} has {info.st_size} bytes; at most {limit} were expected.")
            return file.read(limit)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error


def first_existing(candidates: Iterable[str]) -> str | None:
    """The first path of those given that exists."""
    return next((path for path in candidates if os.path.exists(path)), None)


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
