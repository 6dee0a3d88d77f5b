"""Directions of attributes in the space of flat latents (paper, section 5). NumPy; takes arrays or tensors."""

from __future__ import annotations

from typing import Any

import numpy as np


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
