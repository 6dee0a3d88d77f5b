"""Files of every kind, and what comes of them, for another TensorFlow: `python -m tests.storage.exchange FOLDER`.

test_exchange.py reads them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import glow_tf
from glow_tf.training import train
from tests.random_weights import label_of, noise_for, random_glow, random_images
from tests.training.common import MODEL, TRAIN, final_arrays

SEED = 5
STEPS = 6  # of 12, so that the second epoch is under way


def make() -> glow_tf.Glow:
    """The model that is written, with something of everything."""
    glow = random_glow(ycond=True, n_y=3, weight_y=0.1, lu_decomposed=True, flow_permutation="invconv", seed=SEED)
    glow.initialized.assign(value=True)
    return glow


def results(glow: glow_tf.Glow) -> dict[str, np.ndarray]:
    """What a reader must find: numbers of every direction."""
    x = random_images(glow.config, 4)
    y = label_of(glow.config, 4)
    found: dict[str, Any] = {
        "images": x,
        "bits_per_dim": glow.bits_per_dim(x, y, noise_for(glow.config, 4)),
        "seeded log_prob": glow.log_prob(x, y, glow.draw_noise(x.shape, [SEED, 0])),
        "latents": glow_tf.flatten_latents(glow.encode(x, y)),
        "samples": glow.sample(4, y, 0.7, seed=SEED),
    }
    return {name: np.asarray(value) for name, value in found.items()}


def settings(logdir: Path) -> dict[str, Any]:
    return {**TRAIN, "logdir": str(logdir), "polyak": True}


def write(folder: Path) -> None:
    """A saved model, an export, a tf.train.Checkpoint, and a run that was stopped together with its end elsewhere."""
    glow = make()
    np.savez(folder / "results.npz", **results(glow))
    glow_tf.save(glow, folder / "saved")
    glow_tf.export_saved_model(glow, folder / "export")
    tf.train.Checkpoint(glow=glow).write(str(folder / "checkpoint"))
    train(MODEL, {**settings(folder / "run"), "steps": STEPS})
    np.savez(folder / "stopped.npz", **final_arrays(folder / "run"))
    shutil.copytree(folder / "run", folder / "whole")
    end = train(MODEL, {**settings(folder / "whole"), "resume": True})
    np.savez(folder / "whole.npz", bits_x=end.test["bits_x"] if end.test else np.nan, **final_arrays(folder / "whole"))


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True)
    write(Path(sys.argv[1]))
