"""celeba32: faces at 32x32 with the three permutations, loss curves and samples of each (IFT6269, section 5.2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from glow_tf.experiments import charts, drawing
from glow_tf.experiments.permutations import PERMUTATIONS, mean, ordered
from glow_tf.experiments.study import Run, Study

ABOUT = "faces at 32x32, L=3, K=10, batch 32: three permutations, their curves and samples"
SOURCE = "IFT6269 course report, section 5.2"
PUBLISHED = {"ordering of the loss": "reverse > shuffle > 1x1 convolution"}
PROBLEMS = {"tiny": "digits", "small": "folder", "paper": "folder"}
ONE_MODEL = False
PAPER_SIZE = 32


def runs(study: Study) -> dict[str, Run]:
    """One training for each permutation."""
    paper = {"image_size": 32, "n_levels": 3, "depth": 10, "n_bits_x": 5, "learntop": True}
    model = {**(paper if study.scale == "paper" else {}), "flow_coupling": "additive"}
    train = {"n_batch_train": 32, "epochs": 100} if study.scale == "paper" else {}
    return {name: study.run(model={**model, "flow_permutation": name}, train=train) for name in PERMUTATIONS}


def conclude(study: Study) -> dict[str, Any]:
    """Curves beside samples at temperature 0.7, a row for each permutation."""
    folders = {label: [study.folder(name)] for name, label in PERMUTATIONS.items()}
    with charts.figure(study, 2) as (left, right):
        charts.curves(left, folders, "")
        pictures = np.stack([drawing.samples(study.model(name), 6) for name in study.runs])
        charts.rows(right, pictures, list(folders), "samples, temperature 0.7")
    bits = {label: mean(paths) for label, paths in folders.items()}
    return {"test bits/dim": bits, "published ordering": ordered(list(bits.values()))}
