"""Layers that are given a context besides their input: a function of it is bijective for every context."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.layers.base import Layer, Weights


class ConditionalLayer(Layer):
    """An invertible map on images that may depend on a context [N, H, W, context_channels] as well.

    The context is not changed, and the same one undoes the map. With context_channels=0 the layer is given none.

    Args:
      channels: C of the input of `forward`.
      context_channels: C of the context.
      stack, dtype, seed, name: see Part.
    """

    def __init__(self, channels: int, *, context_channels: int = 0, **part: Any):
        super().__init__(channels, **part)
        if context_channels < 0:
            raise ValueError(f"{self.name}: context_channels={context_channels} must be at least 0")
        self.context_channels = context_channels

    def forward_with(
        self, weights: Weights, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`forward` as a pure function of one step's weights, x and the context."""
        raise NotImplementedError

    def inverse_with(
        self, weights: Weights, y: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`inverse` as a pure function of one step's weights, y and the context."""
        raise NotImplementedError

    def initialize_with(
        self, weights: Weights, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[dict[str, Any], tf.Tensor, tf.Tensor]:
        """As Layer.initialize_with."""
        return ({}, *self.forward_with(weights, x, context))

    def forward(self, x: tf.Tensor, context: Any = None) -> tuple[tf.Tensor, tf.Tensor]:
        """As Layer.forward, given a context [N, H, W, context_channels].

        Raises:
          ValueError: x or the context has another rank, size or dtype, or there should be none.
        """
        x = self.check(x, self.channels)
        return self.forward_with(self.weights(), x, self.check_context(context, x))

    def inverse(self, y: tf.Tensor, context: Any = None) -> tuple[tf.Tensor, tf.Tensor]:
        """As Layer.inverse, given the context of `forward`. Errors as there."""
        y = self.check(y, self.channels_out)
        return self.inverse_with(self.weights(), y, self.check_context(context, y))

    def initialize(self, x: tf.Tensor, context: Any = None) -> tuple[tf.Tensor, tf.Tensor]:
        """As Layer.initialize, given the contexts of the batch."""
        x = self.check(x, self.channels)
        values, y, log_det = self.initialize_with(self.weights(), x, self.check_context(context, x))
        self.assign_weights(values)
        return y, log_det

    def check_context(self, context: Any, x: tf.Tensor) -> tf.Tensor | None:
        """`checked_context` for this layer."""
        return checked_context(self.name, self.context_channels, context, x)


def checked_context(name: str, channels: int, context: Any, x: tf.Tensor) -> tf.Tensor | None:
    """The context as a tensor [N, H, W, channels] of the dtype, batch and size of x, or None where there is none.

    Raises:
      ValueError: it is missing, of another kind, or there should be none.
    """
    if not channels:
        if context is not None:
            raise ValueError(f"{name} takes no context: it was made with context_channels=0")
        return None
    sizes = ", ".join("any" if size is None else str(size) for size in [*x.shape[:3], channels])
    wanted = f"{name} takes a {x.dtype.name} context [{sizes}]"
    if context is None:
        raise ValueError(f"{wanted}: give context=")
    context = tf.convert_to_tensor(context)
    if context.dtype != x.dtype:
        raise ValueError(f"{wanted}, not {context.dtype.name}")
    if context.shape.rank != 4 or not context.shape.is_compatible_with([*x.shape[:3], channels]):
        raise ValueError(f"{wanted}, not shape {context.shape}")
    return tf.ensure_shape(context, [None, None, None, channels])
