"""A model's two maps between flat latents and images, traced once for all bijectors and distributions of the model."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.latents.flatten import flatten_latents, unflatten_latents
from glow_tf.model import Glow

_ATTRIBUTE = "_flat_maps"  # of the model, so that bijectors made anew, as in a joint model, trace nothing anew


class FlatMaps:
    """encode: x [N, H, W, C] -> (flat latents [N, D], log_det [N]); decode: the inverse. Labels: int32 [N], or [0].

    Called, it returns the model: TFP compares callable arguments of a composite tensor by identity, so a
    GlowDistribution whose model is held in here can go in and out of a tf.function.
    """

    def __init__(self, glow: Glow):
        self.glow = glow
        latents = tf.TensorSpec([None, glow.config.dimensions], glow.dtype)
        labels = tf.TensorSpec([None], tf.int32)
        self._images_and_labels = [tf.TensorSpec([None, *glow.config.image_shape], glow.dtype), labels]
        self._traced_encode: dict[str, Any] = {}  # by the model's `memory`, which may be set to another
        self._traced_decode = tf.function(self._decode, input_signature=[latents, labels], autograph=False)

    def __call__(self) -> Glow:
        return self.glow

    def encode(self, x: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if not tf.executing_eagerly():
            return self._encode(x, label)
        memory = self.glow.memory
        if memory not in self._traced_encode:
            traced = tf.function(self._encode, input_signature=self._images_and_labels, autograph=False)
            self._traced_encode[memory] = traced
        return self._traced_encode[memory](x, label)

    def decode(self, flat: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return (self._traced_decode if tf.executing_eagerly() else self._decode)(flat, label)

    def _encode(self, x: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        encoding = self.glow.to_latents(x, label, self.glow.memory)
        return flatten_latents(encoding.eps), encoding.log_det

    def _decode(self, flat: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.glow.from_latents(unflatten_latents(self.glow.config, flat), label)


def maps_of(glow: Any) -> FlatMaps:
    """The maps of a Glow, or those given; a ValueError for anything else."""
    if isinstance(glow, FlatMaps):
        return glow
    if not isinstance(glow, Glow):
        raise ValueError(f"a glow_tf.Glow is needed, not {glow!r}")
    maps = getattr(glow, _ATTRIBUTE, None)
    if maps is None or maps.glow is not glow:  # another's, where the model was copied
        maps = FlatMaps(glow)
        setattr(glow, _ATTRIBUTE, maps)
    return maps
