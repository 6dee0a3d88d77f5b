"""The folder of an export: numbered versions, each a SavedModel. No TensorFlow here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONFIG_FILE = "config.json"
ORIGIN_FILE = "origin.json"  # fingerprint: of the model; weights: for people, which they are


def versions(folder: Path) -> list[int]:
    """What is in `folder` under a number, lowest first."""
    numbers = [int(path.name) for path in folder.iterdir() if path.name.isascii() and path.name.isdigit()]
    return sorted(number for number in numbers if (folder / str(number)).exists())


def find_version(path: Path) -> Path | None:
    """The SavedModel that `path` is, or the highest version in it, as TensorFlow Serving; None if there is none."""
    if (path / "saved_model.pb").is_file():
        return path
    for number in reversed(versions(path)):
        if (path / str(number) / "saved_model.pb").is_file():
            return path / str(number)
    return None


def config_path(version: Path) -> Path:
    """Of the model's configuration, which travels with an export."""
    return version / "assets" / CONFIG_FILE


def read_origin(version: Path) -> dict[str, Any]:
    """What ORIGIN_FILE says.

    Raises:
      ValueError: there is none, or it is damaged.
    """
    path = version / "assets" / ORIGIN_FILE
    try:
        origin = json.loads(path.read_text(encoding="utf-8"))
        return {"fingerprint": str(origin["fingerprint"]), "weights": str(origin["weights"])}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(f"{path}: missing or damaged; this SavedModel is no export of glow_tf") from None
