"""depth: few levels against many, at the same number of training steps (figure 9)."""

from __future__ import annotations

from typing import Any

import numpy as np

from glow_tf.experiments import charts, drawing, results
from glow_tf.experiments.study import Run, Study

ABOUT = "shallow against deep: fewer levels at the same number of training steps, samples side by side"
SOURCE = "Glow, figure 9"
PUBLISHED = {"samples": "L=6 learns long-range structure that L=4 does not (CelebA-HQ 256x256)"}
PROBLEMS = {"tiny": "digits", "small": "folder", "paper": "celeba"}
ONE_MODEL = False
PAPER_SIZE, PAPER_WORKERS = 256, 40
# The top latent has 16x16 pixels in the shallow model and 4x4 in the deep one, at small and at paper scale.
LEVELS = {"tiny": (1, 2), "small": (1, 3), "paper": (4, 6)}


def runs(study: Study) -> dict[str, Run]:
    """A shallow and a deep model."""
    coupling = {} if study.scale == "paper" else {"flow_coupling": "affine"}
    train = {"tiny": {}, "small": {"epochs": 12}, "paper": {"epochs": 1000}}[study.scale]
    return {
        name: study.run(named="celebahq256", model={**coupling, "n_levels": levels}, train=train)
        for name, levels in zip(("shallow", "deep"), LEVELS[study.scale], strict=True)
    }


def conclude(study: Study) -> dict[str, Any]:
    """Samples of both at temperature 0.7, and their curves."""
    with charts.figure(study, 3, width=3.8) as (left, middle, right):
        found = {}
        for axis, (name, run) in zip((left, middle), study.runs.items(), strict=True):
            pictures = drawing.samples(study.model(name), 25)
            charts.rows(axis, pictures.reshape(5, 5, *pictures.shape[1:]), title=f"{name}, L={run.model['n_levels']}")
            found[f"{name}, L={run.model['n_levels']}"] = results.last(study.folder(name))["test bits/dim"]
        charts.curves(right, {name: [study.folder(name)] for name in study.runs}, "")
    gain = float(np.subtract(*found.values()))
    return {"test bits/dim": found, "gain from depth": "reproduced" if gain > 0 else "not reproduced"}
