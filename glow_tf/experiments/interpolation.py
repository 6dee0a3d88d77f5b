"""interpolation: from one image to another through the latents (figure 5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from glow_tf.experiments import charts, drawing
from glow_tf.experiments.one_model import runs as runs
from glow_tf.experiments.study import Study
from glow_tf.latents.interpolation import interpolate

ABOUT = "straight paths through the latents between two images"
SOURCE = "Glow, figure 5"
PUBLISHED = {"paths": "realistic images all the way, with smooth changes"}
PROBLEMS = {"tiny": "digits", "small": "folder", "paper": "celeba"}
ONE_MODEL = True
PAPER_SIZE, PAPER_WORKERS = 256, 40
_PAIRS, _FRAMES = 4, 9


def conclude(study: Study) -> dict[str, Any]:
    """A row for each pair; how likely the images between are, beside the ends."""
    glow = study.model()
    flat, y = drawing.ends(study, glow, 2 * _PAIRS)
    y[1::2] = y[::2]  # a path stays in the class of its first image
    weights = np.linspace(0, 1, _FRAMES)
    paths = np.stack([interpolate(flat[2 * i], flat[2 * i + 1], weights) for i in range(_PAIRS)])
    pictures = drawing.of_latents(glow, paths, y[::2, np.newaxis])
    with charts.figure(study, 1, width=6.0) as (axis,):
        charts.rows(axis, pictures, title=f"between {study.ends}")
    labels = np.repeat(y[::2], _FRAMES)
    flat = pictures.reshape(-1, *glow.config.image_shape)
    bits = np.asarray(glow.bits_per_dim(flat, labels, glow.draw_noise(flat.shape, [0, 0])))
    means = bits.reshape(_PAIRS, _FRAMES).mean(0)
    return {"bits/dim at the ends": float(means[[0, -1]].mean()), "halfway": float(means[_FRAMES // 2])}
