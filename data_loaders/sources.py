"""Where a data set's images come from: random access by number."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import tensorflow as tf


class Source(Protocol):
    """Images that can be had in any order.

    Attributes:
      labels: int32 [n], the class of every image.
      image_shape: (H, W, C) of the images as they are stored.
    """

    labels: np.ndarray
    image_shape: tuple[int, int, int]

    def fetch(self, indices: tf.data.Dataset, batch_size: int, workers: int) -> tf.data.Dataset:
        """Turns int64 [b] vectors of image numbers, b <= batch_size, into uint8 [b, H, W, C]."""
        ...


class ArraySource:
    """Images in memory."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(
                f"images must be uint8 [N, H, W, C], got {images.dtype} {list(images.shape)}"
            )
        if labels.shape != images.shape[:1]:
            raise ValueError(f"{images.shape[0]} images but labels of shape {list(labels.shape)}")
        self.labels = labels.astype(np.int32)
        height, width, channels = images.shape[1:]
        self.image_shape = (height, width, channels)
        with tf.device("CPU:0"):  # the input pipeline runs there
            self._images = tf.constant(images)

    def fetch(self, indices: tf.data.Dataset, batch_size: int, workers: int) -> tf.data.Dataset:
        """See Source."""
        del batch_size
        return indices.map(self._gather, num_parallel_calls=workers, deterministic=True)

    def _gather(self, indices: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.gather(self._images, indices), [None, *self.image_shape])
