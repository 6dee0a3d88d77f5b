"""One run at a time writes to a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from data_loaders.errors import DataError
from data_loaders.folder.scan import printable


@contextlib.contextmanager
def exclusive(path: str) -> Iterator[None]:
    """Holds a lock file; released however the process ends.

    Raises:
      DataError: another process holds it.
    """
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"Another run is writing to {printable(os.path.dirname(path))}.") from error
        yield
