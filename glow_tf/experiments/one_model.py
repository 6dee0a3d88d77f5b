"""The one training of the experiments that show what a model can do; --model takes its place."""

from __future__ import annotations

from typing import Any

from glow_tf.experiments.study import Run, Study


def runs(study: Study) -> dict[str, Run]:
    """Digits with their classes (tiny), faces at 32x32 (small), the paper's model of CelebA-HQ at 256x256 (paper)."""
    models: dict[str, dict[str, Any]] = {
        "tiny": {"flow_coupling": "affine", "ycond": True, "weight_y": 0.05},
        "small": {"flow_coupling": "affine"},
        "paper": {},
    }
    train: dict[str, dict[str, Any]] = {
        "tiny": {"epochs": 20, "polyak": True, "polyak_epochs": 3},
        "small": {"epochs": 30, "polyak": True, "polyak_epochs": 3, "dal": 2},
        "paper": {"epochs": 1000},
    }
    return {"model": study.run(named="celebahq256", model=models[study.scale], train=train[study.scale])}
