"""What a conditional model is given, labels and contexts of any leading dimensions: checked."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.config import GlowConfig


def as_label(config: GlowConfig, label: Any) -> tf.Tensor | None:
    """`label` as an int32 tensor of any shape, or None; a ValueError where it does not fit the model.

    Where the value is not known while tracing, a label that the model has not is not noticed, as in Glow.
    """
    if label is None:
        return None
    if not config.takes_labels:
        raise ValueError("label: this model is not class-conditional (ycond) and takes no label")
    label = tf.convert_to_tensor(label)
    if not label.dtype.is_integer:
        raise ValueError(f"label must hold whole numbers, not {label.dtype.name}")
    value = tf.get_static_value(label)
    if value is not None and value.size and not (0 <= value.min() and value.max() < config.n_y):
        raise ValueError(
            f"label holds {value.min()} to {value.max()}; this model has the classes 0 to {config.n_y - 1}"
        )
    return tf.cast(label, tf.int32)


def needed_label(config: GlowConfig, label: tf.Tensor | None) -> None:
    """A ValueError where a class-conditional model got no label."""
    if config.takes_labels and label is None:
        raise ValueError(f"this model is class-conditional: give label=, 0 to {config.n_y - 1}, one or one per image")


def as_context(config: GlowConfig, context: Any, dtype: tf.DType) -> tf.Tensor | None:
    """`context` as a tensor [..., H, W, context_channels] of `dtype`, or None; a ValueError where it does not fit."""
    if context is None:
        return None
    if not config.context_given:
        instead = "is conditioned on label=" if config.context == "label" else "was made without one"
        raise ValueError(f"context: this model takes none: it {instead}")
    context = tf.convert_to_tensor(context)
    sizes = [*config.image_shape[:2], config.context_channels]
    wanted = f"this model takes a floating-point context [..., {', '.join(map(str, sizes))}]"
    if not context.dtype.is_floating:
        raise ValueError(f"{wanted}, not {context.dtype.name}")
    if context.shape.rank is None or context.shape.rank < 3 or not context.shape[-3:].is_compatible_with(sizes):
        raise ValueError(f"{wanted}, not shape {context.shape}")
    return tf.cast(context, dtype)


def needed_context(config: GlowConfig, context: tf.Tensor | None) -> None:
    """A ValueError where a model with a context got none."""
    if config.context_given and context is None:
        sizes = ", ".join(map(str, [*config.image_shape[:2], config.context_channels]))
        raise ValueError(f"this model is conditional: give context=, [..., {sizes}]")
