"""Reading .npz archives from unknown hands: no pickles, and nothing larger than is allowed.

numpy.load would allocate whatever a header claims; here every header is looked at first, and reads are bounded.
"""

from __future__ import annotations

import io
import math
import sys
import zipfile
from dataclasses import dataclass
from os import PathLike
from typing import IO

import numpy as np

from data_loaders.bounded import read_bounded
from data_loaders.errors import DataError

_FILE_LIMIT = 2**28
_MOST_CHARACTERS = 4096  # of a string
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class ArrayFile:
    """An .npz archive whose arrays are looked at before they are read.

    Every method raises whatever zipfile and NumPy raise for damaged bytes, of a dozen kinds.
    """

    def __init__(self, file: str | PathLike[str] | IO[bytes]) -> None:
        self._archive = zipfile.ZipFile(file)
        self.names = {name.removesuffix(".npy") for name in self._archive.namelist()}

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._archive.close()

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """The shape and dtype that an array claims; look at them before it is read."""
        with self._archive.open(f"{name}.npy") as stream:
            shape, _, dtype = _header(name, stream)
            return shape, dtype

    def read(self, name: str) -> np.ndarray:
        """One array; never one of objects."""
        with self._archive.open(f"{name}.npy") as stream:
            shape, fortran, dtype = _header(name, stream)
            if dtype.hasobject:
                raise ValueError(f"array {name!r} is {dtype.name}, and pickled objects are refused")
            size = math.prod(shape) * dtype.itemsize
            content = stream.read(size)
        if len(content) != size:
            raise ValueError(f"array {name!r} is truncated: {len(content)} of {size} bytes")
        return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _header(name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        return _HEADERS[np.lib.format.read_magic(stream)](stream)
    except Exception as error:  # NumPy's parser raises nearly anything
        raise ValueError(f"array {name!r} has no valid header: {str(error)[:200]}") from error


@dataclass(frozen=True)
class Array:
    """What an array in the archive must look like.

    Attributes:
      item: the shape after the first axis.
      dtypes: the allowed ones; "str" stands for strings of any length that is sensible.
      most: the largest length of the first axis.
    """

    item: tuple[int, ...]
    dtypes: tuple[str, ...]
    most: int

    def check(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Raises ValueError where a header is of another array."""
        short = dtype.kind == "U" and 0 < dtype.itemsize <= 4 * _MOST_CHARACTERS
        if ("str" if short else dtype.name) not in self.dtypes:
            raise ValueError(f"array {name!r} is {dtype.name}; expected {' or '.join(self.dtypes)}")
        if shape[1:] != self.item or not shape or not 1 <= shape[0] <= self.most:
            wanted = ", ".join(["n", *map(str, self.item)])
            raise ValueError(f"array {name!r} has shape {list(shape)}; expected [{wanted}] with 1 <= n <= {self.most}")


def read_npz(path: str, expected: dict[str, Array], limit: int = _FILE_LIMIT) -> dict[str, np.ndarray]:
    """Reads the named arrays; others in the archive are left alone.

    Raises:
      DataError: no archive, an array missing, of another type or shape, too long, truncated or
        damaged.
    """
    data = read_bounded(path, limit)
    try:
        archive = ArrayFile(io.BytesIO(data))
    except Exception as error:  # zipfile raises nearly anything on damaged archives
        raise DataError(f"{path} is not a readable .npz archive: {error}.") from error
    arrays = {}
    with archive:
        for name, array in expected.items():
            if name not in archive.names:
                there = ", ".join(sorted(archive.names)[:10]) or "nothing"
                raise DataError(f"{path} has no array {name!r}; it holds {there}.")
            try:
                array.check(name, *archive.header(name))
                arrays[name] = archive.read(name)
                if _has_unknown_characters(arrays[name]):
                    raise ValueError(f"array {name!r} has characters that do not exist")
            except Exception as error:  # as above
                raise DataError(f"{path}: {error}.") from error
    return arrays


def _has_unknown_characters(array: np.ndarray) -> bool:
    return array.dtype.kind == "U" and bool(array.view(f"{array.dtype.str[0]}u4").max(initial=0) > sys.maxunicode)
