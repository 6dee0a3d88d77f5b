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

import functools
import math

import numpy as np
import tensorflow as tf

UNIFORMS_PER_IMAGE = 8  # two Philox blocks of four numbers
_BLOCKS_PER_IMAGE = UNIFORMS_PER_IMAGE // 4
_PHILOX = 1

# Separate streams of random numbers under one seed.
_ORDER_STREAM = 0x1B56C4E9
_AUGMENT_STREAM = 0x7F4A7C15
INIT_SEED_OFFSET = 0x2545F4914F6CDD1D  # for the images of the data-dependent initialisation


def image_indices(positions: tf.Tensor, n: int, seed: int) -> tf.Tensor:
    """The images at given positions of the endless training sequence.

    In NumPy, since TensorFlow's stateless RandomIndexShuffle takes the low bits of its key only and
    so repeats its orders after some epochs.

    Args:
      positions: int64 [b], >= 0.
      n: number of training images.
      seed: 0 <= seed < 2**63.

    Returns:
      int64 [b] in [0, n).
    """

    def look_up(positions: np.ndarray) -> np.ndarray:
        epochs, places = np.divmod(positions, n)
        indices = np.empty_like(positions)
        for epoch in np.unique(epochs):
            indices[epochs == epoch] = permutation(n, seed ^ _ORDER_STREAM, int(epoch))[places[epochs == epoch]]
        return indices

    return tf.ensure_shape(tf.numpy_function(look_up, [positions], tf.int64, stateful=False), positions.shape)


@functools.lru_cache(maxsize=8)  # successive batches ask for the same epoch, or the next
def permutation(n: int, seed: int, number: int) -> np.ndarray:
    """The numbers 0 to n - 1 in an order that belongs to seed and number, int64 [n]: by sorting random numbers.

    NumPy keeps the raw numbers of its bit generators for ever, unlike those of its distributions.
    """
    key = np.asarray([seed, number], np.uint64)
    order = np.argsort(np.random.Philox(key=key).random_raw(n), kind="stable")
    order.flags.writeable = False
    return order


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
    key = tf.constant([seed ^ (_AUGMENT_STREAM << 16)], tf.uint64)
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


def bounds_in_order(count: int, batch_size: int, rank: int, size: int) -> np.ndarray:
    """Where the batches of a rank begin and end when all images are gone through once.

    Ranks have consecutive parts whose lengths differ by 1 at most, in equally many batches.

    Returns:
      int64 [batches + 1]: batch k has the images from bounds[k] up to, not including, bounds[k +
      1].
    """
    low, high = rank * count // size, (rank + 1) * count // size
    batches = math.ceil(math.ceil(count / size) / batch_size)
    # As many full batches as leave one image for each batch that follows.
    ends = [min(low + (k + 1) * batch_size, high - (batches - 1 - k)) for k in range(batches)]
    return np.asarray([low, *(max(low, end) for end in ends)], np.int64)
