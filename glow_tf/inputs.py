"""Checks of what users hand to a model: every error says what was given and what is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.config import GlowConfig


def check_images(config: GlowConfig, x: Any) -> tf.Tensor:
    """x as a uint8 tensor [N, H, W, C], or a ValueError."""
    x = tf.convert_to_tensor(x)
    height, width, channels = config.image_shape
    wanted = f"this model takes uint8 images [N, {height}, {width}, {channels}]"
    if x.dtype != tf.uint8:
        raise ValueError(f"{wanted}, not {x.dtype.name}; values are 0 to 255")
    if x.shape.rank != 4 or not x.shape[1:].is_compatible_with(config.image_shape):
        raise ValueError(f"{wanted}, not shape {x.shape}")
    return x


def check_labels(config: GlowConfig, y: Any, n: Any, *, needed: bool = True) -> tf.Tensor:
    """y as an int32 tensor [N] for n examples, or a ValueError; no labels where the model is not class-conditional.

    Inside a tf.function a label out of range is an InvalidArgumentError when it runs.
    """
    if not config.takes_labels:
        return tf.zeros([0], tf.int32)
    if y is None:
        if not needed:
            return tf.zeros([0], tf.int32)
        raise ValueError(f"this model is class-conditional: give y, a label from 0 to {config.n_y - 1} for every image")
    y = tf.convert_to_tensor(y)
    if not y.dtype.is_integer or y.shape.rank != 1:
        raise ValueError(f"y must be whole numbers [N], not {y.dtype.name} of shape {y.shape}")
    _check_number("labels", y, n)
    y = tf.cast(y, tf.int32)
    value = tf.get_static_value(y)
    if value is None:  # inside a tf.function: known only when it runs
        known = tf.debugging.Assert(
            tf.reduce_all((y >= 0) & (y < config.n_y)), [f"y: this model has labels 0 to {config.n_y - 1}, not", y]
        )
        with tf.control_dependencies([known]):
            return tf.identity(y)
    if value is not None and value.size and not (0 <= value.min() and value.max() < config.n_y):
        raise ValueError(f"y holds labels from {value.min()} to {value.max()}; this model has 0 to {config.n_y - 1}")
    return y


def check_context(config: GlowConfig, context: Any, dtype: Any, n: Any) -> tf.Tensor | None:
    """The context of n images as a tensor [N, H, W, context_channels] (None for a model without), or a ValueError."""
    if not config.context_given:
        if context is not None:
            instead = "its context is the label y" if config.context == "label" else "it was made without one"
            raise ValueError(f"this model takes no context: {instead}")
        return None
    sizes = [*config.image_shape[:2], config.context_channels]
    wanted = f"this model takes a floating-point context [N, {', '.join(map(str, sizes))}]"
    if context is None:
        raise ValueError(f"{wanted}: give context=, one for every image")
    context = tf.convert_to_tensor(context)
    if not context.dtype.is_floating:
        raise ValueError(f"{wanted}, not {context.dtype.name}")
    if context.shape.rank != 4 or not context.shape[1:].is_compatible_with(sizes):
        raise ValueError(f"{wanted}, not shape {context.shape}")
    _check_number("contexts", context, n)
    return tf.cast(context, dtype)


def check_noise(config: GlowConfig, noise: Any, dtype: Any, n: Any) -> tf.Tensor:
    """The dequantisation noise of n images as a tensor [N, H, W, C], or a ValueError."""
    noise = tf.cast(tf.convert_to_tensor(noise), dtype)
    if noise.shape.rank != 4 or not noise.shape[1:].is_compatible_with(config.image_shape):
        raise ValueError(f"noise must be [N, {', '.join(map(str, config.image_shape))}], not shape {noise.shape}")
    _check_number("images' noise", noise, n)
    value = tf.get_static_value(noise)
    if value is not None and value.size and not (value.min() >= 0 and value.max() <= 1 / config.n_bins):
        raise ValueError(f"noise must be in [0, 1/{config.n_bins}], not from {value.min()} to {value.max()}")
    return noise


def check_latents(config: GlowConfig, eps: Sequence[Any], dtype: Any) -> list[tf.Tensor]:
    """The L latents as tensors, or a ValueError."""
    shapes = config.latent_shapes()
    wanted = "this model's latents are " + ", ".join(f"[N, {', '.join(map(str, shape))}]" for shape in shapes)
    if not isinstance(eps, (list, tuple)):
        raise ValueError(f"{wanted}, in a list; flat latents go through unflatten_latents")
    latents = [tf.cast(tf.convert_to_tensor(latent), dtype) for latent in eps]
    fits = len(latents) == len(shapes) and all(
        latent.shape.rank == 4 and latent.shape[1:].is_compatible_with(shape)
        for latent, shape in zip(latents, shapes, strict=False)
    )
    if not fits:
        raise ValueError(f"{wanted}, not {', '.join(str(latent.shape) for latent in latents)}")
    for latent in latents[1:]:
        _check_number(f"latents {tuple(latent.shape)}", latent, latents[0].shape[0])
    return latents


def check_sampling(n: Any, temperature: Any, dtype: Any) -> tf.Tensor:
    """The temperature as a tensor, a number or [n], or a ValueError about it or n."""
    number = tf.get_static_value(n) if tf.is_tensor(n) else n
    if number is not None and (not isinstance(number, (int, np.integer)) or isinstance(number, bool) or number < 1):
        raise ValueError(f"n={n!r}: the number of samples must be a whole number, at least 1")
    temperature = tf.convert_to_tensor(temperature, dtype)
    if temperature.shape.rank not in (0, 1):
        raise ValueError(f"temperature must be a number or one per image [n], not shape {temperature.shape}")
    if temperature.shape.rank == 1:
        _check_number("temperatures", temperature, number)
    value = tf.get_static_value(temperature)
    if value is not None and not (np.isfinite(value).all() and (value >= 0).all()):
        raise ValueError(f"temperature={value}: must be finite, 0 or more")
    return temperature


def _check_number(what: str, given: tf.Tensor, n: Any) -> None:
    if n is not None and given.shape[0] is not None and given.shape[0] != n:
        raise ValueError(f"{given.shape[0]} {what} for a batch of {n}")
