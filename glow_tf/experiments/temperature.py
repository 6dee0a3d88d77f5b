"""temperature: one model, one set of latents, temperatures from 0 to 1 (figure 8)."""

from __future__ import annotations

from typing import Any

import numpy as np

from glow_tf.experiments import charts, drawing
from glow_tf.experiments.one_model import runs as runs
from glow_tf.experiments.study import Study

ABOUT = "the same latents at temperatures from 0 to 1"
SOURCE = "Glow, figure 8"
PUBLISHED = {"temperature": "samples look best below 1; lower is smoother, higher is more varied", "chosen": 0.7}
PROBLEMS = {"tiny": "digits", "small": "folder", "paper": "celeba"}
ONE_MODEL = True
PAPER_SIZE, PAPER_WORKERS = 256, 40
TEMPERATURES = (0.0, 0.25, 0.6, 0.7, 0.8, 0.9, 1.0)  # the figure's


def conclude(study: Study) -> dict[str, Any]:
    """A row of samples for each temperature; how much they differ from each other."""
    glow = study.model()
    pictures = np.stack([drawing.samples(glow, 10, temperature) for temperature in TEMPERATURES])
    with charts.figure(study, 1, width=6.0, height=5.0) as (axis,):
        charts.rows(axis, pictures, [f"{temperature:g}" for temperature in TEMPERATURES], "temperature")
    spread = (pictures / 255.0).std(axis=1).mean(axis=(1, 2, 3))
    return {"spread of a pixel (white is 1)": dict(zip(map(str, TEMPERATURES), spread.tolist(), strict=True))}
