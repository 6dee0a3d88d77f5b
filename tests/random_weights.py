"""Weights for tests: every trainable number is moved by gaussian noise, so that none is zero and nothing cancels."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

import glow_tf


def perturb(module: tf.Module, *, scale: float = 0.1, seed: int = 0) -> Any:
    """Adds N(0, scale) to every trainable variable of `module`; returns the module."""
    random = np.random.default_rng(seed)
    for variable in module.trainable_variables:
        variable.assign_add(tf.cast(scale * random.standard_normal(variable.shape), variable.dtype))
    return module


def random_glow(*, scale: float = 0.05, seed: int = 0, memory: str = "reversible", **fields: Any) -> glow_tf.Glow:
    """A small model with perturbed weights; `fields` are GlowConfig's, and precision and jit of Glow."""
    precision, jit = fields.pop("precision", "float32"), fields.pop("jit", False)
    defaults: dict[str, Any] = {"image_size": (8, 4), "n_levels": 2, "depth": 2, "width": 4, "flow_coupling": "affine"}
    config = glow_tf.GlowConfig(**{**defaults, "learntop": True, **fields})
    return perturb(glow_tf.Glow(config, memory=memory, precision=precision, seed=seed, jit=jit), scale=scale, seed=seed)


def random_images(config: glow_tf.GlowConfig, n: int, seed: int = 0) -> np.ndarray:
    """n uint8 images of uniform noise, with a black and a white corner so that both ends are met."""
    x = np.random.default_rng(seed).integers(0, 256, (n, *config.image_shape), dtype=np.uint8)
    x[:, 0, 0], x[:, -1, -1] = 0, 255
    return x


def label_of(config: glow_tf.GlowConfig, n: int) -> np.ndarray | None:
    """A label for each of n images where the model takes labels."""
    return np.arange(n) % config.n_y if config.takes_labels else None


def context_for(glow: glow_tf.Glow, x: np.ndarray) -> np.ndarray | None:
    """A context for each of the images x where the model is given one: made of them, or random numbers."""
    if not glow.config.context_given:
        return None
    if glow.config.context_from_image:
        return np.asarray(glow.context_of(x))
    sizes = (*x.shape[:3], glow.config.context_channels)
    return np.random.default_rng(1).standard_normal(sizes).astype(glow.dtype.as_numpy_dtype)


def noise_for(config: glow_tf.GlowConfig, n: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """Dequantisation noise for n images, away from the bins' edges."""
    random = np.random.default_rng(seed)
    return (random.uniform(0.1, 0.9, (n, *config.image_shape)) / config.n_bins).astype(dtype)
