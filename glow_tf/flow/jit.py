"""Whether XLA compiles the levels' loops."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.config import ConfigError


def resolve_jit(choice: str, precision: str) -> bool:
    """What "auto", "on" or "off" comes to; auto is on where there is a GPU: there, launching kernels sets the time."""
    if choice == "auto":
        return bool(tf.config.list_physical_devices("GPU")) and tf.test.is_built_with_xla() and precision != "float64"
    return choice == "on"


def check_jit(jit: Any, precision: str) -> None:
    """Raises ConfigError, in one line, where the loops cannot be compiled."""
    if not isinstance(jit, bool):
        raise ConfigError(f"jit={jit!r}: allowed are False and True")
    if not jit:
        return
    if precision == "float64":
        raise ConfigError("jit=True with precision='float64': float64 is for checking, and is not compiled")
    if not tf.test.is_built_with_xla():
        raise ConfigError("jit=True: this TensorFlow was built without XLA; use jit=False")
