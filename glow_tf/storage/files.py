"""Files that a crash leaves whole: written aside, flushed to the disk, renamed; and the lock of a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from data_loaders import locks
from data_loaders.atomic import WRITING, atomic_write, sync_folder

__all__ = ["WRITING", "StorageError", "append", "atomic_write", "locked", "storage_errors", "sync_folder", "write_text"]


class StorageError(ValueError):
    """Something cannot be written: a full disk, a folder that is read-only or in use; the message says which."""


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """What the system says of a full disk or a read-only folder becomes a StorageError that names `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Writes text so that `path` has the old content or the new, whatever happens meanwhile.

    Raises:
      StorageError: it cannot be written.
    """
    with storage_errors(path), atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append(path: Path, text: str) -> None:
    """Adds text to a file, through to the disk, or where that fails, nothing at all.

    Raises:
      StorageError: it failed.
    """
    data = text.encode()
    with storage_errors(path), path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


@contextlib.contextmanager
def locked(folder: Path, what: str = "folder") -> Iterator[None]:
    """Within it no other process has the lock of this folder, which is made where there is none.

    Args:
      folder: the folder; the lock is on a file .lock in it.
      what: its name in errors.

    Raises:
      StorageError: another process has it, or it is not there and cannot be made, or is read-only.
    """
    path = folder / ".lock"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locks.locked(str(path), wait=False))
        except BlockingIOError:
            who = path.read_text(errors="replace")[:200].strip()
            raise StorageError(f"{what} {folder} is in use by another run ({who or 'of unknown origin'})") from None
        except OSError as error:
            print(f"warning: {path}: this file system has no locks ({error.strerror}); nothing guards the folder")
        with contextlib.suppress(OSError):  # a full disk: the lock holds without it
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
