"""attributes: images moved along the directions of attributes (figure 6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from glow_tf.commands.attributes import labels_of
from glow_tf.experiments import charts, drawing
from glow_tf.experiments.one_model import runs as runs
from glow_tf.experiments.study import ExperimentError, Study
from glow_tf.latents.directions import AttributeMeans, along

ABOUT = "images moved along the mean difference of those with and without an attribute"
SOURCE = "Glow, figure 6"
PUBLISHED = {"attributes": "Smiling, Pale_Skin, Blond_Hair, Narrow_Eyes, Young, Male: each changes alone"}
PROBLEMS = {"tiny": "digits", "small": "folder", "paper": "celeba"}
ONE_MODEL = True
PAPER_SIZE, PAPER_WORKERS = 256, 40
_FACES = ("Smiling", "Pale_Skin", "Blond_Hair", "Narrow_Eyes", "Young", "Male")  # the figure's
_ALPHAS = np.linspace(-1.5, 1.5, 7)


def check(study: Study) -> None:
    """The data must have attributes, or classes."""
    if not study.data.attributes and study.data.n_y < 2:
        raise ExperimentError(f"{study.data.describe()}: attributes needs an attributes.csv, or sub-folders as classes")


def conclude(study: Study) -> dict[str, Any]:
    """A row for each attribute; how well its direction tells held-out images apart."""
    from glow_tf.commands.batches import encode_batch

    glow, data = study.model(), study.data
    wanted = [name for name in _FACES if name in (data.attributes or ())] or None
    names, values = labels_of(data, "train", wanted=wanted, classes=False)
    _, held_out = labels_of(data, "test", wanted=wanted, classes=False)
    means = AttributeMeans(len(names), glow.config.dimensions)
    for x, _ in data.batches_in_order("train", 50):
        means.add(encode_batch(glow, x, 0), values[means.n : means.n + len(x)])
    directions = means.directions()
    starts, _ = drawing.ends(study, glow, 1)
    paths = np.stack([along(starts, direction, _ALPHAS)[0] for direction in directions])
    with charts.figure(study, 1, width=5.0, height=5.0) as (axis,):
        charts.rows(axis, drawing.of_latents(glow, paths, 0), names, f"from {_ALPHAS[0]:g} to {_ALPHAS[-1]:g}")
    latents = np.concatenate([encode_batch(glow, x, 0) for x, _ in data.test_batches(50)])
    scores = latents @ directions.T
    told = {name: _auc(scores[:, i], held_out[:, i] > 0) for i, name in enumerate(names)}
    return {"pairs of held-out images told apart by the direction": told}


def _auc(scores: np.ndarray, has: np.ndarray) -> float:
    """The share of pairs, one image with and one without, in which the one with has the higher score."""
    if not 0 < has.sum() < len(has):
        return float("nan")
    differences = scores[has][:, np.newaxis] - scores[~has]
    return float((differences > 0).mean() + (differences == 0).mean() / 2)
