"""permutations: reversing, shuffling and 1x1 convolutions, with additive and with affine coupling (figure 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glow_tf.experiments import charts, results
from glow_tf.experiments.study import Run, Study

ABOUT = "test bits/dim against epochs: reverse, shuffle, 1x1 convolution, each additive and affine"
SOURCE = "Glow, figure 3"
PUBLISHED = {
    "ordering of bits/dim": "reverse > shuffle > 1x1 convolution, with additive and with affine coupling",
    "coupling": "affine learns faster than additive",
    "CIFAR-10, 1x1 convolution, affine (table 2)": 3.35,
}
PROBLEMS = {"tiny": "digits", "small": "cifar10", "paper": "cifar10"}
ONE_MODEL = False
PAPER_SIZE, PAPER_WORKERS = 32, 8
PERMUTATIONS = {"reverse": "reverse", "shuffle": "shuffle", "invconv": "1x1 convolution"}
COUPLINGS = ("additive", "affine")
_SEEDS = {"tiny": 1, "small": 1, "paper": 3}


def runs(study: Study) -> dict[str, Run]:
    """Three permutations, two couplings, and at paper scale three seeds."""
    # Narrower than `small` elsewhere: there are six trainings. The likelihood figure is of 8 bits.
    own = {"small": {"depth": 8, "width": 64, "n_bits_x": 8}}.get(study.scale, {})
    train = {"small": {"epochs": 10}, "paper": {"epochs": 250}}.get(study.scale, {})
    return {
        f"{coupling}-{permutation}-{seed}": study.run(
            named="cifar10",
            model={**own, "flow_coupling": coupling, "flow_permutation": permutation},
            train={**train, "seed": seed},
        )
        for seed in range(_SEEDS[study.scale])
        for coupling in COUPLINGS
        for permutation in PERMUTATIONS
    }


def conclude(study: Study) -> dict[str, Any]:
    """The last test bits/dim of every kind, and whether the published ordering came out."""
    with charts.figure(study, len(COUPLINGS)) as panels:
        found: dict[str, Any] = {}
        for axis, coupling in zip(panels, COUPLINGS, strict=True):
            folders = {label: _folders(study, coupling, name) for name, label in PERMUTATIONS.items()}
            charts.curves(axis, folders, coupling)
            bits = {label: mean(paths) for label, paths in folders.items()}
            found[f"{coupling}, test bits/dim"] = bits
            found[f"{coupling}, published ordering"] = ordered(list(bits.values()))
    return found


def _folders(study: Study, coupling: str, permutation: str) -> list[Path]:
    return [study.folder(name) for name in study.runs if name.startswith(f"{coupling}-{permutation}-")]


def mean(folders: list[Path]) -> float:
    """The mean of the trainings' last test bits/dim."""
    return sum(results.last(folder)["test bits/dim"] for folder in folders) / len(folders)


def ordered(bits: list[float]) -> str:
    """Whether reverse, shuffle and 1x1 convolution, in this order, improve."""
    return "reproduced" if bits[0] > bits[1] > bits[2] else "not reproduced"
