"""Reading .npz archives from unknown hands: no pickles, and nothing larger than is allowed."""

from __future__ import annotations

import io
import math
import sys
import zipfile
from dataclasses import dataclass

import numpy as np

from data_loaders.errors import DataError
from data_loaders.files import read_bounded

_FILE_LIMIT = 2**28
_MOST_CHARACTERS = 4096  # of a string


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


def read_npz(path: str, expected: dict[str, Array], limit: int = _FILE_LIMIT) -> dict[str, np.ndarray]:
    """Reads the named arrays; others in the archive are left alone.

    numpy.load would allocate whatever a header claims, so headers are checked first and reads are
    bounded.

    Raises:
      DataError: no archive, an array missing, of another type or shape, too long, truncated or
        damaged.
    """
    data = read_bounded(path, limit)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: _read(archive, path, name, array) for name, array in expected.items()}
    except DataError:
        raise
    except Exception as error:  # zipfile raises nearly anything on damaged archives
        raise DataError(f"{path} is not a readable .npz archive: {error}.") from error


def _read(archive: zipfile.ZipFile, path: str, name: str, expected: Array) -> np.ndarray:
    member = f"{name}.npy"
    if member not in archive.namelist():
        there = ", ".join(sorted(archive.namelist())[:10]) or "nothing"
        raise DataError(f"{path} has no array {name!r}; it holds {there}.")
    with archive.open(member) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            elif version == (2, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
            else:
                raise ValueError(f"format version {version}")
        except Exception as error:  # as does the parser of headers
            raise DataError(f"{path}: array {name!r} has no valid header: {str(error)[:200]}.") from error
        short = dtype.kind == "U" and 0 < dtype.itemsize <= 4 * _MOST_CHARACTERS
        if ("str" if short else dtype.name) not in expected.dtypes:
            raise DataError(f"{path}: array {name!r} is {dtype.name}; expected {' or '.join(expected.dtypes)}.")
        item = list(expected.item)
        if len(shape) != 1 + len(item) or list(shape[1:]) != item or not 1 <= shape[0] <= expected.most:
            wanted = f"[n, {', '.join(map(str, item))}]" if item else "[n]"
            raise DataError(
                f"{path}: array {name!r} has shape {list(shape)}; expected {wanted} with 1 <= n <= {expected.most}."
            )
        n_bytes = math.prod(shape) * dtype.itemsize
        content = stream.read(n_bytes)
    if len(content) != n_bytes:
        raise DataError(f"{path}: array {name!r} is truncated: {len(content)} of {n_bytes} bytes.")
    if dtype.kind == "U" and np.frombuffer(content, dtype.str[0] + "u4").max(initial=0) > sys.maxunicode:
        raise DataError(f"{path}: array {name!r} has characters that do not exist.")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
