"""The prior of the top latent: learned and class-conditional where the configuration says so."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.layers.base import Layer, Weights, scale_of
from glow_tf.layers.conditional import checked_context
from glow_tf.layers.conv import ZeroConv, ZeroLinear, edge_bias, split_edge
from glow_tf.layers.split import standardize, unstandardize
from glow_tf.layers.tensors import shape_of


class TopPrior(Layer):
    """Standardises the top latent by its Gaussian prior.

    Function: y = (x - mean) / exp(logs), with (mean, logs) the halves of h = ZeroConv(0) + ZeroLinear(label).
    Reverse: x = mean + exp(logs) * y.
    Log-determinant: -sum(logs).

    x and y: [N, H, W, C]; label: int [N]; h: [N or 1, H, W, 2 C]. The convolution's input is all zero, so it gives a
    mean and a scale per channel that differ at the image's edges. Without learntop and ycond h is 0: a standard normal.
    With a context c [N, H, W, C'] h is ZeroConv(c) more.

    Args:
      channels: C.
      learntop: the ZeroConv term is there.
      n_y: number of classes of the ZeroLinear term; None for no such term (ycond off).
      context_channels: of the context; 0 for no such term.

    Source: `prior` in OpenAI's model.py.
    """

    def __init__(
        self, channels: int, *, learntop: bool, n_y: int | None = None, context_channels: int = 0, **part: Any
    ):
        super().__init__(channels, **part)
        self.context_channels = context_channels
        self.learntop = learntop
        self.n_y = n_y
        if learntop:
            self.add_part("p", ZeroConv, 2 * channels, 2 * channels)
        if n_y is not None:
            self.add_part("y_emb", ZeroLinear, n_y, 2 * channels)
        if self.context_channels:
            self.add_part("context", ZeroConv, self.context_channels, 2 * channels)

    def forward_with(
        self, weights: Weights, x: tf.Tensor, label: Any = None, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return standardize(x, *self._mean_and_logs(weights, x, label, context))

    def inverse_with(
        self, weights: Weights, y: tf.Tensor, label: Any = None, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return unstandardize(y, *self._mean_and_logs(weights, y, label, context))

    def forward(self, x: tf.Tensor, label: Any = None, context: Any = None) -> tuple[tf.Tensor, tf.Tensor]:
        """As Layer.forward; `label` int [N] where the prior is class-conditional, `context` as ConditionalLayer."""
        x = self.check(x, self.channels)
        return self.forward_with(self.weights(), x, label, self._checked(context, x))

    def inverse(self, y: tf.Tensor, label: Any = None, context: Any = None) -> tuple[tf.Tensor, tf.Tensor]:
        """As Layer.inverse; `label` int [N] where the prior is class-conditional, `context` as ConditionalLayer."""
        y = self.check(y, self.channels)
        return self.inverse_with(self.weights(), y, label, self._checked(context, y))

    def _checked(self, context: Any, x: tf.Tensor) -> tf.Tensor | None:
        return checked_context(self.name, self.context_channels, context, x)

    def _mean_and_logs(
        self, weights: Weights, like: tf.Tensor, label: Any, context: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        _, height, width, _ = shape_of(like)
        h = tf.zeros([1, height, width, 2 * self.channels], like.dtype)
        if self.learntop:
            p = weights["p"]
            h += (edge_bias(split_edge(p["W"])[1], height, width) + p["b"]) * scale_of(p["logs"])
        if self.n_y is not None:
            if label is None:
                raise ValueError(f"{self.name}: the prior is class-conditional (ycond); give labels, one per example")
            embedded = ZeroLinear.apply(weights["y_emb"], tf.one_hot(label, self.n_y, dtype=like.dtype))
            h += embedded[:, tf.newaxis, tf.newaxis]
        if context is not None:
            h += ZeroConv.apply(weights["context"], context)
        mean, logs = tf.split(h, 2, -1)
        return mean, tf.broadcast_to(logs, tf.shape(like))
