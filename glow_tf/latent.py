"""Latents: as a list of tensors, as one flat vector per image, and arithmetic with the flat ones.

The arithmetic (paths between images, directions of attributes) is NumPy's and takes arrays or tensors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.config import GlowConfig
from glow_tf.inputs import check_sampling


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


def interpolate(start: Any, end: Any, weights: Any, *, spherical: bool = False) -> np.ndarray:
    """Points between two flat latents, float32 [T, D]; weight 0 gives `start` and 1 gives `end`, exactly.

    Args:
      start: [D].
      end: [D].
      weights: [T].
      spherical: go along the great circle, so that the length stays that of a typical latent. Where the two point the
        same way, or opposite ways, there is no such circle, and the path is straight. Default: straight, as the
        original's demo.

    Raises:
      ValueError: start and end are not of one shape [D].
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    if start.ndim != 1 or start.shape != end.shape:
        raise ValueError(f"the ends of a path are flat latents [D], not of shapes {start.shape} and {end.shape}")
    t = np.asarray(weights, np.float64)[:, np.newaxis]
    lengths = float(np.linalg.norm(start) * np.linalg.norm(end))
    cosine = np.clip(start @ end / lengths, -1, 1) if lengths > 0 else 1.0
    angle = math.acos(cosine)
    if not spherical or math.sin(angle) < 1e-6:
        points = (1 - t) * start + t * end
    else:
        points = (np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / math.sin(angle)
    return points.astype(np.float32)


def path_through(latents: Any, frames: int, *, spherical: bool = False) -> np.ndarray:
    """A path through M flat latents [M, D]: float32 [(M - 1) * (frames - 1) + 1, D].

    Args:
      latents: the stations.
      frames: points from one station to the next, both counted.
      spherical: see `interpolate`.

    Raises:
      ValueError: fewer than 2 stations or 2 frames.
    """
    latents = np.asarray(latents)
    if latents.ndim != 2 or len(latents) < 2 or frames < 2:
        raise ValueError(f"a path needs 2 latents and 2 frames, not latents {latents.shape} and {frames} frames")
    weights = np.linspace(0, 1, frames)[:-1]
    legs = [interpolate(a, b, weights, spherical=spherical) for a, b in itertools.pairwise(latents)]
    return np.concatenate([*legs, np.asarray(latents[-1:], np.float32)])


def along(latents: Any, direction: Any, alphas: Any) -> np.ndarray:
    """latents + alpha * direction for every alpha: [N, D], [D], [T] -> float32 [N, T, D]."""
    steps = np.asarray(alphas, np.float32)[:, np.newaxis] * np.asarray(direction, np.float32)
    return np.asarray(latents, np.float32)[:, np.newaxis] + steps


class AttributeMeans:
    """Mean latents of the images with and without attributes, from a stream of batches (paper, section 5).

    Args:
      n_attributes: A.
      dimensions: D of the flat latents.
    """

    def __init__(self, n_attributes: int, dimensions: int) -> None:
        self._with = np.zeros([n_attributes, dimensions])  # float64: sums of many
        self._all = np.zeros([dimensions])
        self.n = 0
        self.n_with = np.zeros([n_attributes], np.int64)

    @property
    def n_without(self) -> np.ndarray:
        """How many images lack each attribute, int64 [A]."""
        return self.n - self.n_with

    def add(self, latents: Any, values: Any) -> None:
        """Counts one batch.

        Args:
          latents: [N, D].
          values: [N, A] of -1 and 1.

        Raises:
          ValueError: another shape, other values, or latents that are not finite.
        """
        latents, values = np.asarray(latents, np.float64), np.asarray(values)
        if latents.shape != (len(values), len(self._all)) or values.shape[1:] != self.n_with.shape:
            raise ValueError(
                f"latents {latents.shape} and values {values.shape}; [N, {len(self._all)}] and"
                f" [N, {len(self.n_with)}] are needed"
            )
        if not np.isin(values, (-1, 1)).all():
            raise ValueError("attributes are -1 or 1")
        if not np.isfinite(latents).all():
            raise ValueError("there are latents that are not finite")
        has = values > 0
        self._with += has.T.astype(np.float64) @ latents
        self._all += latents.sum(0)
        self.n += len(latents)
        self.n_with += has.sum(0)

    def mean(self) -> np.ndarray:
        """The mean latent of all images, float32 [D]."""
        return (self._all / max(1, self.n)).astype(np.float32)

    def directions(self) -> np.ndarray:
        """Mean latent with minus mean latent without, float32 [A, D]; 0 where all or none have the attribute."""
        has, lacks = self.n_with[:, np.newaxis], self.n_without[:, np.newaxis]
        means = self._with / np.maximum(has, 1) - (self._all - self._with) / np.maximum(lacks, 1)
        return np.where((has > 0) & (lacks > 0), means, 0).astype(np.float32)
