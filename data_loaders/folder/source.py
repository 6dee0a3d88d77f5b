"""Image files as a Source that decodes inside tf.data, and reading many files in threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from data_loaders.errors import DataError
from data_loaders.folder.images import BadImageError, read_image
from data_loaders.text import printable

_BLOCK = 1024  # files handed to the threads at once
_T = TypeVar("_T")


class FileSource:
    """Images decoded when they are wanted, several at once (Pillow decodes without the GIL)."""

    def __init__(
        self,
        root: str,
        names: Sequence[str],
        labels: np.ndarray,
        image_shape: tuple[int, int, int],
        workers: int,
    ) -> None:
        self._labels = labels.astype(np.int32)
        self.image_shape = image_shape
        self._root, self._names = root, tuple(names)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    @property
    def labels(self) -> np.ndarray:
        """See Source."""
        return self._labels

    def __len__(self) -> int:
        return len(self._labels)

    def images(self, indices: tf.Tensor) -> tf.Tensor:
        """See Source."""
        images = tf.numpy_function(self._decode, [indices], tf.uint8, stateful=False)
        return tf.ensure_shape(images, [None, *self.image_shape])

    def _decode(self, batch: np.ndarray) -> np.ndarray:
        images = np.empty((len(batch), *self.image_shape), np.uint8)
        for row, image in enumerate(self._pool.map(self._read, batch.tolist())):
            images[row] = image
        return images

    def _read(self, index: int) -> np.ndarray:
        name = self._names[index]
        try:
            return read_image(os.path.join(self._root, name), self.image_shape[:2], self.image_shape[2])
        except BadImageError as error:
            raise DataError(f"{printable(name)} {error}; it was fine when the data set was loaded.") from error


def for_each_file(
    root: str, names: Sequence[str], function: Callable[[str], _T], workers: int
) -> Iterator[tuple[str, _T | BadImageError]]:
    """Applies a function to every file, in several threads.

    Yields:
      (name, result) in order; the result is the BadImageError that the function raised, if it did.
    """

    def guarded(name: str) -> Any:
        try:
            return function(os.path.join(root, name))
        except BadImageError as error:
            return error

    pool = ThreadPoolExecutor(workers, thread_name_prefix="read")
    try:
        for first in range(0, len(names), _BLOCK):
            block = names[first : first + _BLOCK]
            yield from zip(block, pool.map(guarded, block), strict=True)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def default_workers() -> int:
    """The processors that this process may use, at most 16."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 16)
