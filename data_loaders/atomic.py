"""Files written aside and renamed: what was there before stays until the new one is whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

WRITING = ".writing-"  # prefix of what is not complete yet


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A path with the same ending to write to; it becomes `path` if all goes well, and is removed if not.

    Raises:
      OSError: the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=WRITING, suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's is for the owner only
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
