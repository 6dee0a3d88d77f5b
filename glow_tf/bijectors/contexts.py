"""Contexts of conditional bijectors: any leading dimensions, which broadcast with those of what is mapped."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.config import GlowConfig


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


def with_leading(x: tf.Tensor, event_ndims: int, leading: tf.Tensor) -> tf.Tensor:
    """x [..., *event] broadcast to the leading dimensions [*leading, *event]."""
    return tf.broadcast_to(x, tf.concat([leading, tf.shape(x)[x.shape.rank - event_ndims :]], 0))


def common_leading(x: tf.Tensor, event_ndims: int, *others: tuple[tf.Tensor, int]) -> tf.Tensor:
    """What the leading dimensions of x and the others, each with its events' number of dimensions, broadcast to."""
    leading = tf.shape(x)[: x.shape.rank - event_ndims]
    for other, ndims in others:
        leading = tf.broadcast_dynamic_shape(leading, tf.shape(other)[: other.shape.rank - ndims])
    return leading
