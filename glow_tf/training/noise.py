"""Dequantisation noise that belongs to an image's place in a sequence, whichever worker has it."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from glow_tf.config import GlowConfig

TRAINING, TESTING = 0x6E6F6973, 0x74657374  # streams of one seed that share nothing
_PHILOX = 1


def noise_at(config: GlowConfig, first: Any, count: int, *, seed: int, stream: int, dtype: tf.DType) -> tf.Tensor:
    """The noise of `count` consecutive places from `first` on: [count, H, W, C], uniform in [0, 1/n_bins).

    The generator is counter-based and every place owns its counters, so R workers with a batch of N each draw what one
    worker with R * N images draws.

    Args:
      config: the model's.
      first: int64 scalar, the first place.
      count: how many.
      seed: of the run, 0 or above.
      stream: TRAINING or TESTING.
      dtype: float32 or float64.
    """
    per_block = 16 // dtype.size  # a block of Philox has 16 bytes
    blocks = math.ceil(config.dimensions / per_block)
    uniform = tf.raw_ops.StatelessRandomUniformV2(
        shape=[count, blocks * per_block],
        key=tf.constant([(seed ^ (stream << 32)) & 0xFFFFFFFFFFFFFFFF], tf.uint64),
        counter=tf.stack([tf.cast(first, tf.uint64) * blocks, tf.constant(0, tf.uint64)]),
        alg=_PHILOX,
        dtype=dtype,
    )
    return tf.reshape(uniform[:, : config.dimensions], [count, *config.image_shape]) / config.n_bins
