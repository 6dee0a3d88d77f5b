"""The figures of the Glow paper and of the IFT6269 course report, one command each.

    python -m glow_tf.experiments list
    python -m glow_tf.experiments permutations --scale tiny --out runs/permutations

An experiment is its settings and one picture; training is `glow_tf.training.train`. Its module has

    ABOUT                   one line for the list
    SOURCE                  where the figure was published
    PUBLISHED               what was found there: a dict of numbers and sentences, for results.json and the terminal
    PROBLEMS                scale -> name of the data set; "folder" needs --image_dir
    ONE_MODEL               whether --model can take the place of the training
    runs(study)             name -> Run: the trainings
    conclude(study)         draws the picture, returns the results

and imports TensorFlow in functions only. A new experiment is one more name in NAMES.
"""

from __future__ import annotations

import importlib
from typing import Any

NAMES = (
    "permutations",
    "celeba32",
    "mnist",
    "temperature",
    "depth",
    "interpolation",
    "attributes",
    "likelihood",
    "conditional",
    "reconstruction_cost",
)


def find(name: str) -> Any:
    """The module of one experiment; see the contract above."""
    return importlib.import_module(f"{__name__}.{name}")
