"""Which training image comes when, and its random numbers: pure functions of (seed, position).

The training images of a run form one endless sequence. Position p belongs to epoch p // n and holds
the image that the epoch's own random permutation of the n images has at p mod n. Nothing is stored
and nothing is skipped over, so a run that is resumed at position p costs what a new one costs.

A step of `size` ranks with `batch` images each takes the next size * batch positions, rank r the
r-th part. So ranks never share an image within an epoch, all have a batch at every step, and two
ranks with half a batch each see exactly the images (and the augmentation) that one rank with a
whole batch sees.
"""

from __future__ import annotations

import tensorflow as tf

UNIFORMS_PER_IMAGE = 8  # two Philox blocks of four numbers
_BLOCKS_PER_IMAGE = UNIFORMS_PER_IMAGE // 4
_PHILOX = 1
_CIPHER_ROUNDS = 4  # TensorFlow's default

# Separate streams of random numbers under one seed.
ORDER_STREAM = 0x1B56C4E9
AUGMENT_STREAM = 0x7F4A7C15
INIT_SEED_OFFSET = 0x2545F4914F6CDD1D  # for the images of the data-dependent initialisation


def image_indices(positions: tf.Tensor, n: int, seed: int) -> tf.Tensor:
    """The images at given positions of the endless training sequence.

    Args:
      positions: int64 [b], >= 0.
      n: number of training images.
      seed: 0 <= seed < 2**63.

    Returns:
      int64 [b] in [0, n).
    """
    if n == 1:
        return tf.zeros_like(positions)
    epochs = tf.cast(positions // n, tf.uint32)
    low, high = (
        tf.constant(seed & 0xFFFFFFFF, tf.uint32),
        tf.constant(seed >> 32 ^ ORDER_STREAM, tf.uint32),
    )
    shape = tf.shape(epochs)
    # The raw op: tf.random.experimental.index_shuffle cannot take one key (here: one epoch) per
    # index.
    return tf.raw_ops.RandomIndexShuffle(
        index=positions % n,
        seed=tf.stack([tf.fill(shape, low), tf.fill(shape, high), epochs], axis=1),
        max_index=tf.fill(shape, tf.constant(n - 1, tf.int64)),
        rounds=_CIPHER_ROUNDS,
    )


def uniforms(first: tf.Tensor, count: int | tf.Tensor, seed: int) -> tf.Tensor:
    """Random numbers of `count` consecutive positions.

    Args:
      first: int64 scalar, the first position.
      count: how many positions.
      seed: 0 <= seed < 2**63.

    Returns:
      float32 [count, UNIFORMS_PER_IMAGE] in [0, 1). Row i depends on (seed, first + i) only: the
      generator is counter-based and a position owns its own counters.
    """
    key = tf.constant([seed ^ (AUGMENT_STREAM << 16)], tf.uint64)
    counter = tf.stack([tf.cast(first, tf.uint64) * _BLOCKS_PER_IMAGE, tf.constant(0, tf.uint64)])
    return tf.raw_ops.StatelessRandomUniformV2(
        shape=tf.stack([count, UNIFORMS_PER_IMAGE]),
        key=key,
        counter=counter,
        alg=_PHILOX,
        dtype=tf.float32,
    )


def first_position(step: tf.Tensor, batch_size: int, rank: int, size: int) -> tf.Tensor:
    """The first position of a rank's batch at a step (int64 scalar); the others follow it."""
    return step * (batch_size * size) + rank * batch_size
