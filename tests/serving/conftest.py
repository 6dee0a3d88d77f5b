"""Small models of every kind, exported; and a process that has TensorFlow only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glow_tf
from tests.random_weights import perturb, random_glow

KINDS: dict[str, dict[str, Any]] = {
    "affine, LU, learned top": {"lu_decomposed": True},
    "additive, shuffle, standard top, grayscale, 5 bits": {
        **{"flow_coupling": "additive", "flow_permutation": "shuffle", "learntop": False, "n_bits_x": 5},
        **{"channels": 1, "n_levels": 1},
    },
    "classes": {"ycond": True, "n_y": 3, "weight_y": 0.1, "image_size": 8, "n_levels": 1},
    "float64": {"precision": "float64", "flow_permutation": "reverse", "n_levels": 1},
    "bfloat16": {"precision": "bfloat16", "n_levels": 1},
    "context": {"context_channels": 2, "n_levels": 1},
    "context of images": {"context": "grayscale"},
    "context of the class": {"context": "label", "n_y": 3, "n_levels": 1},
}

# Nothing of this project, and no third-party package but TensorFlow and what it imports, can be imported.
BLOCKER = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("glow_tf", "data_loaders", "tests", "PIL", "tensorflow_probability", "gradio", "cv2"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
import numpy as np
import tensorflow as tf
"""


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """exports(kind) -> (the live model, its export's folder); each is made once."""
    made: dict[str, tuple[glow_tf.Glow, Path]] = {}

    def export(kind: str) -> tuple[glow_tf.Glow, Path]:
        if kind not in made:
            glow = perturb(random_glow(**KINDS[kind]), scale=0.02, seed=7)  # the classifier's weights too
            folder = tmp_path_factory.mktemp("export")
            made[kind] = glow, glow_tf.export_saved_model(glow, folder)
        return made[kind]

    return export


@pytest.fixture
def alone(tmp_path):
    """Runs code after BLOCKER in an isolated interpreter and an empty folder; returns (its output, what it saved)."""

    def run(code: str, *words: Any, **arrays: Any) -> tuple[str, Any]:
        folder = tmp_path / "alone"
        folder.mkdir(exist_ok=True)
        np.savez(folder / "in.npz", **arrays)
        command = [sys.executable, "-I", "-c", BLOCKER + code, *map(str, words)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        saved = np.load(folder / "out.npz") if (folder / "out.npz").exists() else None
        return done.stdout + done.stderr, saved

    return run
