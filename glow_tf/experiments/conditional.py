"""conditional: samples of every class, and the error of the classifier that weight_y trains."""

from __future__ import annotations

from typing import Any

from glow_tf.commands.folders import find_model
from glow_tf.experiments import charts, drawing, results
from glow_tf.experiments.study import ExperimentError, Run, Study

ABOUT = "class-conditional samples, a column for each class, and the classifier's error with weight_y"
SOURCE = "OpenAI's code, class-conditional CIFAR-10"
PUBLISHED = {"error": "not published"}
PROBLEMS = {"tiny": "digits", "small": "cifar10", "paper": "cifar10"}
ONE_MODEL = True
PAPER_SIZE, PAPER_WORKERS = 32, 8


def check(study: Study) -> None:
    """The data must have classes, and a given model a classifier."""
    if study.data.n_y < 2:
        raise ExperimentError(f"{study.data.describe()}: conditional needs classes: sub-folders of the images")
    if study.given and not find_model(study.given).config.has_classifier:
        raise ExperimentError(f"--model {study.given} has no classifier: it needs --ycond and --weight_y")


def runs(study: Study) -> dict[str, Run]:
    """One training."""
    own = {} if study.scale == "paper" else {"ycond": True, "weight_y": 0.05, "flow_coupling": "affine"}
    train = {
        "tiny": {"epochs": 20, "polyak": True, "polyak_epochs": 3},
        "small": {"epochs": 20, "polyak": True, "polyak_epochs": 3},
        "paper": {"epochs": 1000},
    }[study.scale]
    return {"model": study.run(named="cifar10_conditional", model=own, train=train)}


def conclude(study: Study) -> dict[str, Any]:
    """A grid of samples, and the means over the test set."""
    glow = study.model()
    columns = min(10, glow.config.n_y)
    pictures = drawing.samples(glow, 5 * glow.config.n_y).reshape(5, -1, *glow.config.image_shape)[:, :columns]
    with charts.figure(study, 1, width=6.0) as (axis,):
        charts.rows(axis, pictures, title="samples at temperature 0.7; columns are classes")
    return {**results.evaluation(glow, study.data), "wrong by chance": 1 - 1 / glow.config.n_y}
