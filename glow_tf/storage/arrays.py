"""Reading .npz files whose arrays are known beforehand: nothing is allocated before its header was looked at."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np


class ArrayFile:
    """An .npz file. No pickles: an array of objects is refused as any other that was not expected.

    Every method raises whatever zipfile and NumPy raise for damaged bytes, of a dozen kinds.
    """

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        self.names = {name.removesuffix(".npy") for name in self._archive.namelist()}

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._archive.close()

    def read(self, name: str, check: Callable[[tuple[int, ...], np.dtype], None]) -> np.ndarray:
        """One array, after `check` has raised nothing at its shape and dtype."""
        with self._archive.open(f"{name}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"{name}: format version {version}")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(stream)
            check(shape, dtype)
            if dtype.hasobject:
                raise ValueError(f"{name}: pickled objects are refused")
            size = math.prod(shape) * dtype.itemsize
            content = stream.read(size)
        if len(content) != size:
            raise ValueError(f"{name}: {len(content)} of {size} bytes")
        return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
