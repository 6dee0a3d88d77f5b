"""The functions of a model that everything else calls: Glow's methods, bijectors, exports, commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from glow_tf.flow.memory import Memory, spelled
from glow_tf.flow.multiscale import MultiScaleFlow
from glow_tf.latents.flatten import flatten_latents, unflatten_latents
from glow_tf.layers.products import Arithmetic


class ModelFunctions:
    """Functions of tensors, each traced once for every batch size.

    Called while another function is traced, they become part of it; with inline=False they stay functions, which a
    SavedModel then holds once, however many others call them. Nothing is checked here: images are uint8 [N, H, W, C],
    continuous images x and noise [N, H, W, C] and flat latents [N, D] of the model's dtype, labels int32 [N], or [0]
    for a model without classes, contexts [N, H, W, C'] of the model's dtype, or None for a model that is given none.

    Called itself, an object returns its model: TFP compares callable arguments of a composite tensor by identity, so a
    GlowDistribution whose model is held in here can go in and out of a tf.function.
    """

    def __init__(self, model: MultiScaleFlow, *, inline: bool = True):
        self.model, self._inline = model, inline
        config, dtype = model.config, model.dtype
        self._uint8 = tf.TensorSpec([None, *config.image_shape], tf.uint8)
        self._continuous = tf.TensorSpec([None, *config.image_shape], dtype)
        self._flat = tf.TensorSpec([None, config.dimensions], dtype)
        self._label = tf.TensorSpec([None], tf.int32)
        self._context = tf.TensorSpec([None, *config.image_shape[:2], config.context_channels], dtype)
        self._traced: dict[str, Any] = {}

    def __call__(self) -> MultiScaleFlow:
        return self.model

    def log_prob(
        self, images: tf.Tensor, label: tf.Tensor, noise: tf.Tensor, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        """log p in nats, [N]; its gradient is computed as with memory="reversible"."""
        x = self.model.continuous(images, noise)
        flat, log_det = self.to_flat(x, label, context=context, compute_dtype=self.model.compute_dtype)
        return self.model.log_prob_of([flat], log_det)

    def logits(self, images: tf.Tensor, noise: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Class logits [N, n_y] of a model that has a classifier."""

        def function(images: tf.Tensor, noise: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
            return self.model.logits(self.model.top(images, noise, context))

        return self._call("logits", function, [self._uint8, self._continuous], context, images, noise)

    def to_flat(
        self,
        x: tf.Tensor,
        label: tf.Tensor,
        memory: Memory = "reversible",
        context: tf.Tensor | None = None,
        compute_dtype: Any = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(flat latents, log_det [N] in nats); `memory` and `compute_dtype` as in `MultiScaleFlow.to_latents`."""
        arithmetic = Arithmetic.of(compute_dtype or self.model.dtype)

        def function(x: tf.Tensor, label: tf.Tensor, context: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
            encoding = self.model.to_latents(x, label, memory, arithmetic, context=context)
            return flatten_latents(encoding.eps), encoding.log_det

        name = f"to_flat, {spelled(memory)}, {arithmetic}"
        return self._call(name, function, [self._continuous, self._label], context, x, label)

    def from_flat(
        self, flat: tf.Tensor, label: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(continuous images, log_det [N] in nats): the inverse of `to_flat`."""

        def function(
            flat: tf.Tensor, label: tf.Tensor, context: tf.Tensor | None = None
        ) -> tuple[tf.Tensor, tf.Tensor]:
            return self.model.from_latents(unflatten_latents(self.model.config, flat), label, context)

        return self._call("from_flat", function, [self._flat, self._label], context, flat, label)

    def _call(
        self,
        name: str,
        function: Callable[..., Any],
        signature: Sequence[tf.TensorSpec],
        context: tf.Tensor | None,
        *args: Any,
    ) -> Any:
        if context is not None:
            signature, args = [*signature, self._context], (*args, context)
        if self._inline and not tf.executing_eagerly():
            return function(*args)
        if name not in self._traced:
            self._traced[name] = tf.function(function, input_signature=signature, autograph=False)
        return self._traced[name](*args)
