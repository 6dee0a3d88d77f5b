"""Paths between flat latents (paper, section 5). NumPy; takes arrays or tensors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np


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
