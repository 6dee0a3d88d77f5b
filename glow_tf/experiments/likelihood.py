"""likelihood: bits/dim with standard error, of the raw and of the averaged weights (table 2)."""

from __future__ import annotations

from typing import Any

from glow_tf.experiments import charts, results
from glow_tf.experiments.study import Run, Study

ABOUT = "bits/dim on the test set with standard error, raw and averaged weights"
SOURCE = "Glow, table 2"
PUBLISHED = {
    "CIFAR-10": 3.35,
    "ImageNet 32x32": 4.09,
    "ImageNet 64x64": 3.81,
    "LSUN bedroom": 2.38,
    "LSUN tower": 2.46,
    "LSUN church outdoor": 2.67,
}
PROBLEMS = {"tiny": "digits", "small": "cifar10", "paper": "cifar10"}
ONE_MODEL = True
PAPER_SIZE, PAPER_WORKERS = 32, 8


def runs(study: Study) -> dict[str, Run]:
    """One training; at paper scale that of --preset."""
    own = {"small": {"n_bits_x": 8}}.get(study.scale, {})
    model = own if study.scale == "paper" else {**own, "flow_coupling": "affine"}
    train = {"tiny": {"polyak_epochs": 2}, "small": {"polyak_epochs": 2}, "paper": {"epochs": 1000}}[study.scale]
    return {"model": study.run(named=study.args.preset or "cifar10", model=model, train={**train, "polyak": True})}


def conclude(study: Study) -> dict[str, Any]:
    """Both kinds of weights over the whole test set."""
    kinds = {"raw weights": "last", "averaged weights": "average"}
    found = {name: results.evaluation(study.model(weights=weights), study.data) for name, weights in kinds.items()}
    with charts.figure(study, 1) as (axis,):
        published = {name: (bits, 0.0) for name, bits in PUBLISHED.items()}
        ours = {label: (numbers["bits/dim"], numbers["standard error"]) for label, numbers in found.items()}
        for names, color in ((published, "tab:gray"), (ours, "tab:blue")):
            axis.barh(list(names), [v for v, _ in names.values()], xerr=[e for _, e in names.values()], color=color)
        axis.set(xlabel="bits/dim", title=f"{study.data.name}, {study.scale}; gray: the paper")
    return {"test": found}
