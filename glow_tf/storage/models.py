"""A model on disk: config.json and weights.npz in one folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from glow_tf.config import GlowConfig
from glow_tf.model import Glow
from glow_tf.storage.files import atomic_write
from glow_tf.storage.variables import read_variables, write_variables

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
      ValueError: `values` names a variable that the model does not have, or has another shape; nothing is written.
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
        write_variables(path, arrays)
    text = json.dumps(glow.config.to_dict(), indent=2) + "\n"
    with atomic_write(folder / CONFIG_FILE) as path:
        path.write_text(text, encoding="utf-8")


def load(folder: str | Path, **options: Any) -> Glow:
    """The model that `save` wrote to `folder`.

    Args:
      folder: as given to `save`.
      **options: memory, precision, seed and jit of Glow.

    Raises:
      SavedModelError: there is no model in the folder, its files are damaged, or they do not fit each other.
      ConfigError: config.json is not a configuration.
    """
    folder = Path(folder)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise SavedModelError(f"{folder} holds no saved model: there is no {name}")
    glow = Glow(GlowConfig.from_json(folder / CONFIG_FILE), **options)
    read_variables(folder / WEIGHTS_FILE, glow.named_variables(), SavedModelError, cast=True)
    return glow
