"""Glow (Kingma & Dhariwal, 2018) in TensorFlow 2, number by number OpenAI's.

Names and modules are imported on first use, so that a command line can check its arguments before TensorFlow loads.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from glow_tf.runtime import check_tensorflow

if TYPE_CHECKING:
    from glow_tf.config import ConfigError, GlowConfig
    from glow_tf.latents.flatten import flatten_latents, unflatten_latents
    from glow_tf.model import Glow
    from glow_tf.serving.export import export_saved_model
    from glow_tf.storage.checkpoints import CheckpointError
    from glow_tf.storage.models import SavedModelError, load, save
    from glow_tf.storage.openai import load_openai_checkpoint
    from glow_tf.training import TrainConfig, Trainer

_HOMES = {
    "CheckpointError": "storage.checkpoints",
    "ConfigError": "config",
    "Glow": "model",
    "GlowConfig": "config",
    "SavedModelError": "storage.models",
    "TrainConfig": "training",
    "Trainer": "training",
    "export_saved_model": "serving.export",
    "flatten_latents": "latents.flatten",
    "load": "storage.models",
    "load_openai_checkpoint": "storage.openai",
    "save": "storage.models",
    "unflatten_latents": "latents.flatten",
}
__all__ = [
    "CheckpointError",
    "ConfigError",
    "Glow",
    "GlowConfig",
    "SavedModelError",
    "TrainConfig",
    "Trainer",
    "export_saved_model",
    "flatten_latents",
    "load",
    "load_openai_checkpoint",
    "save",
    "unflatten_latents",
]

check_tensorflow()


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"glow_tf.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _modules():
        return importlib.import_module(f"glow_tf.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_modules()})


def _modules() -> set[str]:
    """Those of this package, but for __main__."""
    return {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
