"""The golden cases as objects: configuration, arrays, and the model with OpenAI's weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

import glow_tf
from glow_tf.storage.openai import openai_entries

ROOT = Path(__file__).parent / "golden"


class Case:
    """One folder of tests/golden."""

    def __init__(self, name: str):
        self.name = name
        self.folder = ROOT / name
        self.settings: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        known = {field.name for field in dataclasses.fields(glow_tf.GlowConfig)}
        self.config = glow_tf.GlowConfig(**{key: self.settings[key] for key in known & set(self.settings)})
        with np.load(self.folder / "arrays.npz") as arrays:
            self.arrays = {key: arrays[key] for key in arrays.files}

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def load(self, checkpoint: str = "model", **options: Any) -> glow_tf.Glow:
        """The model with the weights that OpenAI's checkpoint holds."""
        return glow_tf.load_openai_checkpoint(self.folder / f"{checkpoint}.ckpt", self.config, **options)


def names(kind: str) -> list[str]:
    """The cases of a kind."""
    folders = sorted(ROOT.glob("*/config.json"))
    return [path.parent.name for path in folders if json.loads(path.read_text())["kind"] == kind]


def to_openai(glow: glow_tf.Glow, values: dict[str, Any]) -> dict[str, np.ndarray]:
    """Values by our variables' names -> by OpenAI's names, stacked ones taken apart; shapes stay ours."""
    result = {}
    for name, (variable, step) in openai_entries(glow).items():
        ours = variable.name.removesuffix(":0")
        if ours in values:
            value = np.asarray(values[ours])
            result[name] = value if step is None else value[step]
    return result
