"""Files that a crash leaves whole: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glow_tf.training.config import StorageError

if TYPE_CHECKING:
    import tensorflow as tf

WRITING = ".writing-"  # prefix of what is not complete yet


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """What the system says of a full disk or a read-only folder becomes a StorageError that names `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def append(path: Path, text: str) -> None:
    """Adds text to a file, through to the disk, or where that fails, nothing at all.

    Raises:
      StorageError: it failed.
    """
    data = text.encode()
    with storing(path), path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that `path` has the old content or the new, whatever happens meanwhile.

    Raises:
      StorageError: it cannot be written.
    """
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """As `write_json`, for text."""
    temporary = path.with_name(WRITING + path.name)
    with storing(path):
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    sync_folder(path.parent)


def seal(path: Path, content: Any) -> dict[str, Any]:
    """Writes variables by name (.npz) or a JSON value through to the disk.

    Variables go one at a time, so no second copy of the model is held.

    Returns:
      The file's size and SHA-256, for a manifest.
    """
    with path.open("wb") as file:
        if path.suffix == ".npz":
            _write_npz(file, content)
        else:
            file.write((json.dumps(content, indent=1) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
    return {"size": path.stat().st_size, "sha256": digest(path)}


def _write_npz(file: Any, variables: Mapping[str, tf.Variable]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, variable in variables.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(variable.numpy()), allow_pickle=False)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha.update(chunk)
    return sha.hexdigest()


def sync_folder(folder: Path) -> None:
    """Makes a folder's entries durable, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
