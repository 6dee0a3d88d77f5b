"""Images that the experiments show: samples, and paths through the latents."""

from __future__ import annotations

from typing import Any

import numpy as np

_BATCH = 16


def samples(glow: Any, n: int, temperature: float = 0.7, seed: int = 0) -> np.ndarray:
    """n images, uint8 [n, H, W, C]; of the classes in turn, where the model has classes."""
    from glow_tf.commands.batches import decode

    eps = glow.sample_latents(n, temperature, seed)
    return decode(glow, eps, np.arange(n) % glow.config.n_y, _BATCH, "sampling")


def of_latents(glow: Any, flat: np.ndarray, y: Any) -> np.ndarray:
    """Images uint8 [..., H, W, C] of flat latents [..., D] and classes [...]."""
    from glow_tf.commands.batches import decode
    from glow_tf.latents.flatten import unflatten_latents

    shape = flat.shape[:-1]
    eps = unflatten_latents(glow.config, flat.reshape(-1, flat.shape[-1]))
    labels = np.broadcast_to(y, shape).reshape(-1)
    return decode(glow, eps, labels, _BATCH).reshape(*shape, *glow.config.image_shape)


def ends(study: Any, glow: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat latents [n, D] and classes [n] to start from: of the first test images, or of samples at temperature 0.7."""
    from glow_tf.latents.flatten import flatten_latents

    if study.ends == "samples":
        y = np.arange(n, dtype=np.int32) % glow.config.n_y
        return np.asarray(flatten_latents(glow.sample_latents(n, 0.7, 0))), y
    x, y = next(iter(study.data.test_batches(n)))
    y = np.asarray(y) % glow.config.n_y  # a model without classes ignores them
    return np.asarray(flatten_latents(glow.encode(x, y))), y
