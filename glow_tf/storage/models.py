"""A model on disk: config.json and weights.npz in one folder."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data_loaders.npz import ArrayFile
from glow_tf.config import GlowConfig
from glow_tf.model import Glow
from glow_tf.storage.files import atomic_write

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.npz"


class SavedModelError(ValueError):
    """A folder that holds no model, or a damaged one; the message names the file and what is wrong."""


def save(glow: Glow, folder: str | Path, values: dict[str, Any] | None = None) -> None:
    """Writes the model to `folder`: config.json, and every variable by name in weights.npz.

    Args:
      glow: the model.
      folder: made if it is not there; files of an earlier save are replaced, each in one step.
      values: by variable name, what to write in place of some variables' values (a Polyak average, say).

    Raises:
      ValueError: `values` names a variable that the model has not, or has another shape; nothing is written.
      OSError: the folder cannot be written to.
    """
    folder = Path(folder)
    arrays = {name: np.asarray(variable) for name, variable in glow.named_variables().items()}
    for name, value in (values or {}).items():
        given = np.asarray(value)
        if name not in arrays:
            raise ValueError(f"{name}: this model has no such variable")
        if given.shape != arrays[name].shape:
            raise ValueError(f"{name}: {given.shape} given for a variable of shape {arrays[name].shape}")
        arrays[name] = given
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / WEIGHTS_FILE) as path:
        np.savez(path, **arrays)
    text = json.dumps(glow.config.to_dict(), indent=2) + "\n"
    with atomic_write(folder / CONFIG_FILE) as path:
        path.write_text(text, encoding="utf-8")


def load(folder: str | Path, **options: Any) -> Glow:
    """The model that `save` wrote to `folder`.

    Args:
      folder: as given to `save`.
      **options: memory, precision and seed of Glow.

    Raises:
      SavedModelError: there is no model in the folder, its files are damaged, or they do not fit each other.
      ConfigError: config.json is not a configuration.
    """
    folder = Path(folder)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise SavedModelError(f"{folder} holds no saved model: there is no {name}")
    glow = Glow(GlowConfig.from_json(folder / CONFIG_FILE), **options)
    _read_weights(folder / WEIGHTS_FILE, glow)
    return glow


def is_permutation(indices: Any) -> bool:
    """Whether every row of `indices` [..., C] holds 0 to C - 1, each once."""
    return bool(np.all(np.sort(indices, -1) == np.arange(np.shape(indices)[-1])))


def _read_weights(path: Path, glow: Glow) -> None:
    with _reading(path), ArrayFile(path) as stored:
        _assign(path, glow, stored)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Any error in reading means damage: for bytes changed anywhere, zipfile and NumPy raise a dozen kinds of them."""
    try:
        yield
    except (SavedModelError, FileNotFoundError):
        raise
    except Exception as error:
        raise SavedModelError(f"{path}: damaged ({error})") from None


def _assign(path: Path, glow: Glow, stored: ArrayFile) -> None:
    variables = glow.named_variables()
    missing, surplus = sorted(set(variables) - stored.names), sorted(stored.names - set(variables))
    if missing or surplus:
        raise SavedModelError(
            f"{path} does not fit its config.json: it lacks {missing[:8] or 'nothing'} "
            f"and has besides {surplus[:8] or 'nothing'}"
        )
    for name, variable in variables.items():
        value = stored.read(name, functools.partial(_check, path, name, variable))
        if name.endswith("/permutation/indices") and not is_permutation(value):
            raise SavedModelError(f"{path}: {name} is no permutation")
        variable.assign(tf.cast(value, variable.dtype))


def _check(path: Path, name: str, variable: tf.Variable, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if shape != tuple(variable.shape) or dtype.kind not in "fib":
        raise SavedModelError(f"{path}: {name} is {dtype} {shape}, not {variable.dtype.name} {variable.shape}")
