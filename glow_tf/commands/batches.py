"""Many images through a model, a few at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from data_loaders.progress import Progress
from glow_tf.interface import ImageModel
from glow_tf.latents.flatten import flatten_latents, unflatten_latents


def decode(
    glow: ImageModel, eps: Sequence[Any], y: Any, batch: int, what: str = "decoding", context: Any = None
) -> np.ndarray:
    """uint8 [N, H, W, C] of L latents [N, H_i, W_i, C_i].

    Args:
      glow: the model.
      eps: the latents.
      y: int [N], or one label for all.
      batch: images at a time.
      what: for the progress bar.
      context: [N, H, W, C'], for a model that is given one.
    """
    n = len(eps[0])
    y = np.broadcast_to(np.asarray(y, np.int32), [n])
    parts = []
    with Progress(what, n) as progress:
        for begin in range(0, n, batch):
            end = min(begin + batch, n)
            given = None if context is None else context[begin:end]
            parts.append(_decoded(glow, [latent[begin:end] for latent in eps], y[begin:end], given))
            progress.update(end - begin)
    return np.concatenate(parts)


def encode(glow: ImageModel, images: np.ndarray, label: int, batch: int) -> np.ndarray:
    """Flat latents, float32 [N, H*W*C], of uint8 images [N, H, W, C]."""
    with Progress("encoding", len(images)) as progress:
        parts = []
        for part in in_batches(images, batch):
            parts.append(encode_batch(glow, part, label))
            progress.update(len(part))
    return np.concatenate(parts)


def encode_batch(glow: ImageModel, images: Any, label: int) -> np.ndarray:
    """Flat latents, float32 [N, H*W*C], of one batch of uint8 images."""
    y = np.full([len(images)], label, np.int32)
    return np.asarray(flatten_latents(glow.encode(images, y)), np.float32)


def decode_batch(glow: ImageModel, latents: Any, label: Any) -> np.ndarray:
    """uint8 [N, H, W, C] of one batch of flat latents [N, H*W*C]; a label for each, or one for all."""
    y = np.broadcast_to(np.asarray(label, np.int32), [len(latents)])
    return _decoded(glow, unflatten_latents(glow.config, latents), y)


def _decoded(glow: ImageModel, eps: Sequence[Any], y: np.ndarray, context: Any = None) -> np.ndarray:
    """uint8 images, with a warning where some came of numbers that were not finite."""
    images, finite = glow.decode_and_check(eps, y, context)
    lost = int(np.sum(~np.asarray(finite)))
    if lost:
        warnings.warn(
            f"{lost} of {len(images)} images left {glow.dtype.name} while they were decoded, and are wrong: their"
            " latents are too unlikely for this model; try a lower temperature",
            stacklevel=2,
        )
    return np.asarray(images)


def in_batches(items: Any, batch: int) -> Iterator[Any]:
    """Consecutive slices of at most `batch` items."""
    for begin in range(0, len(items), batch):
        yield items[begin : begin + batch]
