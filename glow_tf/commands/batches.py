"""Many images through a model, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from glow_tf.commands.models import Model
from glow_tf.commands.progress import Progress
from glow_tf.latent import flatten_latents, unflatten_latents


def decode(glow: Model, eps: Sequence[Any], y: Any, batch: int, what: str = "decoding") -> np.ndarray:
    """uint8 [N, H, W, C] of L latents [N, H_i, W_i, C_i].

    Args:
      glow: the model.
      eps: the latents.
      y: int [N], or one label for all.
      batch: images at a time.
      what: for the progress bar.
    """
    n = len(eps[0])
    y = np.broadcast_to(np.asarray(y, np.int32), [n])
    parts = []
    with Progress(what, n) as progress:
        for begin in range(0, n, batch):
            end = min(begin + batch, n)
            parts.append(np.asarray(glow.decode([latent[begin:end] for latent in eps], y[begin:end])))
            progress.update(end - begin)
    return np.concatenate(parts)


def encode(glow: Model, images: np.ndarray, label: int, batch: int) -> np.ndarray:
    """Flat latents, float32 [N, H*W*C], of uint8 images [N, H, W, C]."""
    with Progress("encoding", len(images)) as progress:
        parts = []
        for part in in_batches(images, batch):
            parts.append(encode_batch(glow, part, label))
            progress.update(len(part))
    return np.concatenate(parts)


def encode_batch(glow: Model, images: Any, label: int) -> np.ndarray:
    """Flat latents, float32 [N, H*W*C], of one batch of uint8 images."""
    y = np.full([len(images)], label, np.int32)
    return np.asarray(flatten_latents(glow.encode(images, y)), np.float32)


def decode_batch(glow: Model, latents: Any, label: int) -> np.ndarray:
    """uint8 [N, H, W, C] of one batch of flat latents [N, H*W*C]."""
    y = np.full([len(latents)], label, np.int32)
    return np.asarray(glow.decode(unflatten_latents(glow.config, latents), y))


def in_batches(items: Any, batch: int) -> Iterator[Any]:
    """Consecutive slices of at most `batch` items."""
    for begin in range(0, len(items), batch):
        yield items[begin : begin + batch]
