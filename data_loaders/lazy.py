"""Images that are decoded when they are first needed, several at once (Pillow decodes without the GIL)."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from data_loaders.errors import DataError
from data_loaders.progress import Progress
from data_loaders.store import PixelStore
from data_loaders.text import printable

_BLOCK = 256  # images decoded between two reports of progress
_NAMED = 20  # unusable images that are named one by one


class LazyImages:
    """Images by number.

    Args:
      decode: the number of an image -> uint8 [H, W, C] and its label; raises DataError where it cannot be used, with
        the reason.
      name: the number -> what the image is called in messages.
      shape: (H, W, C).
      store: where decoded images are kept; None: they are decoded each time.
      workers: images decoded at once.
      skip: whether others take the place of images that cannot be used; else they are an error.

    Attributes:
      bad: number -> what is wrong, of the unusable ones met so far.
      on_failure: called with the number of each of them.
    """

    def __init__(
        self,
        decode: Callable[[int], tuple[np.ndarray, int]],
        name: Callable[[int], str],
        shape: tuple[int, int, int],
        store: PixelStore | None,
        *,
        workers: int,
        skip: bool,
    ) -> None:
        self.shape, self.skip, self.bad = shape, skip, dict[int, DataError]()
        self.on_failure: Callable[[int], None] = lambda number: None
        self._decode, self._name, self._store = decode, name, store
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._lock = threading.Lock()

    def check(self, numbers: Sequence[int]) -> None:
        """Decodes these images; those that cannot be are in `bad` then."""
        with Progress("decoding", len(numbers)) as progress:
            for first in range(0, len(numbers), _BLOCK):
                block = np.asarray(numbers[first : first + _BLOCK], np.int64)
                self.bad.update(self._fetch(block)[2])
                progress.update(len(block))

    def read(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [b, H, W, C] and labels int32 [b] of images int64 [b]; undefined for those that are in `bad` then.

        Raises:
          DataError: one of them cannot be used, and others are not to take its place.
        """
        images, labels, failures = self._fetch(numbers)
        for number, error in failures.items():
            problem = f"{printable(self._name(number))} {error}"
            if not self.skip:
                self.on_failure(number)
                raise DataError(f"{problem}. --skip_corrupt goes on without it.")
            with self._lock:
                new = number not in self.bad
                self.bad[number] = error
            if new:
                self.on_failure(number)
                if len(self.bad) <= _NAMED:
                    warnings.warn(f"skipped: {problem} ({len(self.bad)} so far)", stacklevel=2)
        return images, labels

    def _fetch(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[int, DataError]]:
        """Images, labels, and what is wrong with those that cannot be used, which are black."""
        missing = (numbers if self._store is None else self._store.missing(numbers)).tolist()
        decoded = list(self._pool.map(self._decode_one, missing))
        failures = {number: error for number, (_, _, error) in zip(missing, decoded, strict=True) if error}
        if self._store is not None:
            return self._store.pixels[numbers], self._store.labels[numbers], failures
        images = np.asarray([image for image, _, _ in decoded], np.uint8).reshape(-1, *self.shape)
        return images, np.asarray([label for _, label, _ in decoded], np.int32), failures

    def _decode_one(self, number: int) -> tuple[np.ndarray, int, DataError | None]:
        """An image, or into the store."""
        try:
            image, label = self._decode(number)
        except DataError as error:
            return np.zeros(self.shape, np.uint8), 0, error
        if self._store is None:
            return image, label, None
        self._store.put(number, image, label)
        return image[:0], label, None  # no need to hold on to it


class LazySource:
    """Some of the images as those of a split: a Source.

    Args:
      images: all of them.
      numbers: int64 [n], which ones.
      labels: int32 [n], or a function that finds them, where they come with the images.
    """

    def __init__(
        self, images: LazyImages, numbers: np.ndarray, labels: np.ndarray | Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.image_shape, self._images, self._numbers, self._labels = images.shape, images, numbers, labels

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def labels(self) -> np.ndarray:
        """See Source."""
        if callable(self._labels):
            self._labels = self._labels(self._numbers)
        return self._labels

    @property
    def skipped(self) -> int:
        """See Source."""
        return int(np.isin(self._numbers, list(self._images.bad)).sum())

    def images(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See Source. Where an image cannot be used, the next one that can be takes its place."""
        images, labels = tf.numpy_function(self._read, [indices], (tf.uint8, tf.int32), stateful=False)
        return tf.ensure_shape(images, [None, *self.image_shape]), tf.ensure_shape(labels, [None])

    def _read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        while True:
            indices = self._usable(indices)
            images, labels = self._images.read(self._numbers[indices])
            if self._usable(indices) is indices:
                return images, labels if callable(self._labels) else self._labels[indices]

    def _usable(self, indices: np.ndarray) -> np.ndarray:
        """The same; where images are in `bad` and to be skipped, a new array with the next ones that are not."""
        bad = self._images.bad
        if not self._images.skip or not bad or not np.isin(self._numbers[indices], list(bad)).any():
            return indices
        found = indices.copy()
        for place, index in enumerate(indices.tolist()):
            following = ((index + step) % len(self) for step in range(len(self)))
            usable = next((i for i in following if self._numbers[i] not in bad), None)
            if usable is None:
                raise DataError("Not one image of this split can be used.")
            found[place] = usable
        return found
