"""The latents of a batch as a list of tensors, and as one flat vector per image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from glow_tf.config import GlowConfig


def flatten_latents(eps: Sequence[tf.Tensor]) -> tf.Tensor:
    """L latents [N, H_i, W_i, C_i] -> [N, H*W*C], fine to coarse, as the original's `get_eps` of the demo."""
    return tf.concat(
        [tf.reshape(latent, [tf.shape(latent)[0], math.prod(latent.shape[1:])]) for latent in eps],
        1,
    )


def unflatten_latents(config: GlowConfig, flat: tf.Tensor) -> list[tf.Tensor]:
    """The inverse of `flatten_latents`: [N, H*W*C] -> L latents [N, H_i, W_i, C_i].

    Raises:
      ValueError: flat has another shape than [N, H*W*C].
    """
    flat = tf.convert_to_tensor(flat)
    if flat.shape.rank != 2 or flat.shape[1] != config.dimensions:
        raise ValueError(f"flat latents of this model are [N, {config.dimensions}], not {flat.shape}")
    shapes = config.latent_shapes()
    parts = tf.split(flat, [math.prod(shape) for shape in shapes], 1)
    return [tf.reshape(part, [-1, *shape]) for part, shape in zip(parts, shapes, strict=True)]
