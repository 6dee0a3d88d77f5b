"""Training: `train` runs it all, `Trainer` is one step of it.

Names are imported on first use, so that a command line can check its flags before TensorFlow loads.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "TrainConfig": "config",
    "TrainError": "config",
    "Trainer": "trainer",
    "connect": "workers",
    "infer": "evaluation",
    "train": "session",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
