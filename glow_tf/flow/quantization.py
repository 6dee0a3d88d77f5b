"""uint8 images <-> continuous variables, dequantisation, nats <-> bits per dimension.

Source: `preprocess`, `postprocess` and `_f_loss` in OpenAI's model.py.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from glow_tf.config import GlowConfig

TRAINING, TESTING = 0x6E6F6973, 0x74657374  # streams of one seed that share nothing
_PHILOX = 1  # TensorFlow's number for the generator


def to_continuous(config: GlowConfig, x: tf.Tensor, noise: tf.Tensor, dtype: Any) -> tf.Tensor:
    """uint8 images [N, H, W, C] -> floor(x / 2^(8 - bits)) / n_bins - 1/2 + noise, in [-1/2, 1/2)."""
    x = tf.cast(x, dtype)
    if config.n_bits_x < 8:
        x = tf.floor(x / 2 ** (8 - config.n_bits_x))
    return x / config.n_bins - 0.5 + noise


def to_uint8(config: GlowConfig, x: tf.Tensor) -> tf.Tensor:
    """Continuous images -> uint8: clip(floor((x + 1/2) n_bins) * 256 / n_bins, 0, 255)."""
    x = tf.floor((x + 0.5) * config.n_bins) * (256.0 / config.n_bins)
    return tf.cast(tf.clip_by_value(x, 0.0, 255.0), tf.uint8)


def is_finite(x: tf.Tensor) -> tf.Tensor:
    """bool [N]: whether a continuous image stayed within its number format; if not, its uint8 pixels are wrong.

    That is, whether all of its numbers are finite and at most the root of the format's largest, 2e19 in float32.
    """
    # Not tf.math.is_finite: LiteRT computes it as x - x == 0, and simplifies that to true. And not <= max: LiteRT stops
    # at max where others go on to infinity, and later steps may shrink that. No image comes near the root of max.
    return tf.reduce_all(tf.abs(x) <= math.sqrt(x.dtype.max), [1, 2, 3])


def middle_of_bins(config: GlowConfig, x: tf.Tensor, dtype: Any) -> tf.Tensor:
    """The noise that puts every subpixel of x in the middle of its bin."""
    return tf.fill(tf.shape(x), tf.constant(0.5 / config.n_bins, dtype))


def quantization_log_prob(config: GlowConfig) -> float:
    """-D log(n_bins) in nats: what the log-density of the continuous image counts for one of n_bins values."""
    return -config.dimensions * math.log(config.n_bins)


def to_bits_per_dim(config: GlowConfig, log_prob: tf.Tensor) -> tf.Tensor:
    """Nats per image [N] -> bits per subpixel [N]: -log_prob / (H W C log 2)."""
    return -log_prob / (config.dimensions * math.log(2.0))


def uniform_noise(config: GlowConfig, shape: Any, seed: Any, dtype: Any) -> tf.Tensor:
    """Dequantisation noise of `shape`, uniform in [0, 1/n_bins), a function of the stateless seed [2]."""
    return tf.random.stateless_uniform(shape, seed, 0.0, 1.0 / config.n_bins, dtype)


def noise_at(config: GlowConfig, first: Any, count: int, *, seed: int, stream: int, dtype: tf.DType) -> tf.Tensor:
    """Dequantisation noise of `count` images by their places in a sequence: [count, H, W, C], in [0, 1/n_bins).

    The generator is counter-based and every place owns its counters, so R workers with a batch of N each draw what one
    worker with R * N images draws.

    Args:
      config: the model's.
      first: int64 scalar, the place of the first image.
      count: how many images.
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
