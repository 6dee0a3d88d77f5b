"""mnist: MNIST, affine coupling, L=3, K=32, learning rate 0.001, 10 epochs, and samples (IFT6269, section 5.1)."""

from __future__ import annotations

from typing import Any

from glow_tf.experiments import charts, drawing, results
from glow_tf.experiments.study import Run, Study

ABOUT = "MNIST, affine, L=3, K=32, learning rate 0.001, 10 epochs: the curve and samples"
SOURCE = "IFT6269 course report, section 5.1"
PUBLISHED = {"number": "none"}
PROBLEMS = {"tiny": "digits", "small": "mnist", "paper": "mnist"}
ONE_MODEL = False
PAPER_SIZE = 32


def runs(study: Study) -> dict[str, Run]:
    """One training."""
    model = {
        "tiny": {},
        "small": {"depth": 8, "width": 64, "n_bits_x": 8},
        "paper": {"image_size": 32, "n_levels": 3, "depth": 32, "learntop": True},
    }[study.scale]
    train = {"tiny": {}, "small": {"epochs": 1}, "paper": {"epochs": 10, "n_train": 60000}}[study.scale]
    return {"affine": study.run(model={**model, "flow_coupling": "affine"}, train={**train, "lr": 0.001, "dal": 0})}


def conclude(study: Study) -> dict[str, Any]:
    """The curve beside samples at temperature 0.7."""
    with charts.figure(study, 2) as (left, right):
        charts.curves(left, {"affine": [study.folder("affine")]}, "")
        pictures = drawing.samples(study.model("affine"), 50)
        charts.rows(right, pictures.reshape(5, 10, *pictures.shape[1:]), title="samples, temperature 0.7")
    return {"test bits/dim": results.last(study.folder("affine"))["test bits/dim"]}
