"""What happens on the way from latents to images, step by step: which numbers grow, and where."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

import glow_tf
from glow_tf.layers.coupling import AffineCoupling, _shift_and_raw_scale
from glow_tf.layers.tensors import slice_step


def undo(glow: glow_tf.Glow, z: tf.Tensor) -> list[dict[str, float]]:
    """Undoes a one-level model's steps on z [N, H, W, C], one after the other, as decoding does.

    Returns:
      For every step, the last one of the model first, up to where numbers are not finite: the largest absolute value
      after it was undone, and the smallest scale that its coupling divided by (1 where it is additive).
    """
    (level,) = glow.levels
    step, weights, rows = level.step, level.step.weights(), []

    @tf.function(autograph=False)
    def one(k: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mine: Any = slice_step(weights, k)
        h = step.coupling._h(mine["coupling"], tf.split(y, 2, -1)[0], None)
        affine = isinstance(step.coupling, AffineCoupling)
        smallest = tf.reduce_min(tf.sigmoid(_shift_and_raw_scale(h)[1])) if affine else tf.ones([], y.dtype)
        return step.inverse_with(mine, y)[0], smallest

    for k in reversed(range(level.depth)):
        z, smallest = one(tf.constant(k), z)
        rows.append({"largest": float(tf.reduce_max(tf.abs(z))), "smallest scale": float(smallest)})
        if not np.isfinite(rows[-1]["largest"]):
            break
    return rows
