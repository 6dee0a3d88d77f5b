"""Where a data set's images come from: random access by number."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import tensorflow as tf


class Described(Protocol):
    """Images with labels.

    Attributes:
      labels: int32 [n], the class of every image.
      image_shape: (H, W, C) of the images as they are stored.
    """

    image_shape: tuple[int, int, int]

    @property
    def labels(self) -> np.ndarray:
        """See the class."""
        ...

    def __len__(self) -> int: ...


class Source(Described, Protocol):
    """Images that can be had in any order.

    Attributes:
      skipped: damaged images met so far, in whose place others are given.
    """

    @property
    def skipped(self) -> int:
        """See the class."""
        ...

    def images(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The images of given numbers, int64 [b] -> uint8 [b, H, W, C], and their labels, int32 [b].

        As operations of TensorFlow, called inside tf.data, which runs several batches at once.
        """
        ...


class ArraySource:
    """Images in memory."""

    skipped = 0

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(f"images must be uint8 [N, H, W, C], got {images.dtype} {list(images.shape)}")
        if labels.shape != images.shape[:1]:
            raise ValueError(f"{images.shape[0]} images but labels of shape {list(labels.shape)}")
        self.labels = labels.astype(np.int32)
        height, width, channels = images.shape[1:]
        self.image_shape = (height, width, channels)
        with tf.device("CPU:0"):  # the input pipeline runs there
            self._images, self._label_tensor = tf.constant(images), tf.constant(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See Source."""
        return tf.gather(self._images, indices), tf.gather(self._label_tensor, indices)
