"""Variables by name in .npz files: one at a time, so that no second copy of a model is held."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf

from data_loaders.npz import ArrayFile

_SHOWN = 8  # names listed in an error


def write_variables(file: IO[bytes] | Path, variables: Mapping[str, Any]) -> None:
    """Writes variables or arrays, uncompressed."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, variable in variables.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(variable), allow_pickle=False)


def read_variables(
    path: Path, variables: Mapping[str, tf.Variable], error: type[ValueError], *, cast: bool = False
) -> None:
    """Assigns the arrays of a file to the variables of the same names.

    Args:
      path: of the file.
      variables: what is in it, no more and no less.
      error: what is raised.
      cast: takes numbers of other types too.

    Raises:
      error: damage, or arrays that are missing, surplus, of another shape or type, or no permutation.
      FileNotFoundError: there is no such file.
    """
    try:
        with ArrayFile(path) as stored:
            missing, surplus = sorted(set(variables) - stored.names), sorted(stored.names - set(variables))
            if missing or surplus:
                raise error(
                    f"{path} does not fit the model: it lacks {missing[:_SHOWN] or 'nothing'} "
                    f"and has besides {surplus[:_SHOWN] or 'nothing'}"
                )
            for name, variable in variables.items():
                shape, dtype = stored.header(name)
                fits = dtype.kind in "fib" if cast else dtype == variable.dtype.as_numpy_dtype
                if shape != tuple(variable.shape) or not fits:
                    raise error(f"{path}: {name} is {dtype} {shape}, not {variable.dtype.name} {variable.shape}")
                value = stored.read(name)
                if name.endswith("/permutation/indices") and not is_permutation(value):
                    raise error(f"{path}: {name} is no permutation")
                variable.assign(tf.cast(value, variable.dtype))
    except (error, FileNotFoundError):
        raise
    except Exception as damage:  # for bytes changed anywhere, zipfile and NumPy raise a dozen kinds
        raise error(f"{path}: damaged ({damage})") from None


def is_permutation(indices: Any) -> bool:
    """Whether every row of `indices` [..., C] holds 0 to C - 1, each once."""
    return bool(np.all(np.sort(indices, -1) == np.arange(np.shape(indices)[-1])))
