"""Latents as a list of L tensors and as one flat vector per image; drawing them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from glow_tf.config import GlowConfig
from glow_tf.inputs import check_sampling


def flatten_latents(eps: Sequence[tf.Tensor]) -> tf.Tensor:
    """L latents [N, H_i, W_i, C_i] -> [N, H*W*C], fine to coarse, as OpenAI's demo has them."""
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


def sample_latents(
    config: GlowConfig, n: Any, temperature: Any = 1.0, seed: Any = None, dtype: Any = tf.float32
) -> list[tf.Tensor]:
    """L latents of n images: standard normal, times the temperature (a number or [n]).

    They are a function of the seed; None draws others every time.

    Raises:
      ValueError: n or the temperature is of another type or range.
    """
    temperature = tf.reshape(check_sampling(n, temperature, dtype), [-1, 1, 1, 1])
    if seed is None:
        seed = tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int32)
    shapes = config.latent_shapes()
    seeds = [tf.stack([tf.cast(seed, tf.int32), i]) for i in range(len(shapes))]
    return [
        temperature * tf.random.stateless_normal([n, *shape], s, dtype=dtype)
        for shape, s in zip(shapes, seeds, strict=True)
    ]
