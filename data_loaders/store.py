"""Decoded images, each kept once on a machine: a memory-mapped file that its processes fill together.

An image counts as there when the checksum beside it is that of its pixels, so a process may be killed, or the machine
fail, at any time, and two processes may write the same image. The file is named after the names, sizes and modification
times of all files of the data, so it never has the pixels of what a file held before; it lies in the cache, where the
files of earlier states are removed. Where it cannot be made, a process keeps the images for itself.
"""

from __future__ import annotations

import math
import mmap
import os
import socket
import zlib

import numpy as np

from data_loaders.atomic import atomic_write
from data_loaders.cache import cache_folder
from data_loaders.locks import locked

_PAGE = 4096


class PixelStore:
    """Room for uint8 [n, H, W, C] and labels.

    Args:
      n: number of images.
      shape: (H, W, C).
      root: the folder of the data, and
      state: what must be the same for pixels to be those of its images; "" to keep them in this process only.

    Attributes:
      pixels: uint8 [n, H, W, C]; only those that are not `missing` mean anything.
      labels: int32 [n], likewise.
    """

    def __init__(self, n: int, shape: tuple[int, int, int], root: str = "", state: str = "") -> None:
        head = -(-8 * n // _PAGE) * _PAGE
        memory = _shared(root, shape, state, head + n * math.prod(shape)) if state else None
        if memory is None:
            memory = mmap.mmap(-1, head + n * math.prod(shape))
        self._sums = np.frombuffer(memory, np.uint32, n)
        self.labels = np.frombuffer(memory, np.int32, n, 4 * n)
        self.pixels = np.frombuffer(memory, np.uint8, n * math.prod(shape), head).reshape(n, *shape)
        self._checked = np.zeros(n, np.bool_)  # by this process

    def missing(self, rows: np.ndarray) -> np.ndarray:
        """Those of the images, int64 [b], that are not there."""
        for row in rows[~self._checked[rows]].tolist():
            self._checked[row] = self._sums[row] == _checksum(self.pixels[row], int(self.labels[row]))
        return rows[~self._checked[rows]]

    def put(self, row: int, image: np.ndarray, label: int = 0) -> None:
        """Adds an image."""
        self.pixels[row], self.labels[row] = image, label
        self._sums[row] = _checksum(image, label)


def _checksum(image: np.ndarray, label: int) -> int:
    return zlib.crc32(np.ascontiguousarray(image).data, label & 0xFFFFFFFF) or 1  # 0: nothing was written yet


def _shared(root: str, shape: tuple[int, int, int], state: str, size: int) -> mmap.mmap | None:
    """The file's memory, whose room on the disk is taken beforehand; None where it cannot be had."""
    name = f"{'x'.join(map(str, shape))}-{socket.gethostname()}-"  # two machines may share the cache
    try:
        folder = cache_folder("pixels", root)
        with locked(os.path.join(folder, f"{name}lock")):
            path = os.path.join(folder, f"{name}{state}")
            for other in os.listdir(folder):
                if f"{other.rpartition('-')[0]}-" == name and other not in (f"{name}{state}", f"{name}lock"):
                    os.unlink(os.path.join(folder, other))
            if not os.path.exists(path) or os.path.getsize(path) != size:
                with atomic_write(path) as temporary, temporary.open("wb") as file:
                    _take_room(file.fileno(), size)
            with open(path, "rb+") as file:
                return mmap.mmap(file.fileno(), size)
    except OSError:
        return None


def _take_room(file: int, size: int) -> None:
    """Makes a file of zeros, whose room is taken: on a full disk, writing to its memory would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)
