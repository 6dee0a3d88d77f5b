"""Image files as a Source: decoded when they are first needed, several at once (Pillow decodes without the GIL)."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from data_loaders.errors import DataError
from data_loaders.folder.images import BadImageError
from data_loaders.folder.store import PixelStore
from data_loaders.progress import Progress
from data_loaders.text import printable

_BLOCK = 256  # files decoded between two reports of progress
_NAMED = 20  # unusable files that are named one by one


class ImageFiles:
    """The files of a folder, decoded.

    Args:
      root: the folder.
      names: of the files.
      shape: (H, W, C) of the images.
      decode: (path, number of the file) -> uint8 [H, W, C].
      store: where decoded images are kept; None: they are decoded each time.
      workers: files decoded at once.
      skip: whether others take the place of files that cannot be used; else they are an error.

    Attributes:
      bad: number of the file -> what is wrong, of the unusable ones met so far.
      on_failure: called with the number of each of them.
    """

    def __init__(
        self,
        root: str,
        names: Sequence[str],
        shape: tuple[int, int, int],
        decode: Callable[[str, int], np.ndarray],
        store: PixelStore | None,
        *,
        workers: int,
        skip: bool,
    ) -> None:
        self.shape, self.names, self.bad = shape, names, dict[int, BadImageError]()
        self.on_failure: Callable[[int], None] = lambda file: None
        self._root, self._decode, self._store, self._skip = root, decode, store, skip
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._lock = threading.Lock()

    def check(self, files: Sequence[int]) -> None:
        """Decodes these files; those that cannot be are in `bad` then."""
        with Progress("decoding", len(files)) as progress:
            for first in range(0, len(files), _BLOCK):
                block = np.asarray(files[first : first + _BLOCK], np.int64)
                self._fetch(block)
                progress.update(len(block))

    def read(self, files: np.ndarray) -> np.ndarray:
        """uint8 [b, H, W, C] of files int64 [b]; undefined for those that are in `bad` then.

        Raises:
          DataError: one of them cannot be used, and others are not to take its place.
        """
        known = len(self.bad)
        images = self._fetch(files)
        if len(self.bad) > known:
            self._report(list(self.bad)[known:])
        return images

    def _fetch(self, files: np.ndarray) -> np.ndarray:
        missing = files if self._store is None else self._store.missing(files)
        decoded = list(self._pool.map(self._decode_one, missing.tolist()))
        if self._store is not None:
            return self._store.pixels[files]
        return np.stack(decoded) if decoded else np.empty((0, *self.shape), np.uint8)

    def _decode_one(self, file: int) -> np.ndarray:
        """The image, if nobody else has it; black where it cannot be used."""
        try:
            image = self._decode(os.path.join(self._root, self.names[file]), file)
        except BadImageError as error:
            with self._lock:
                self.bad[file] = error
            return np.zeros(self.shape, np.uint8)
        if self._store is None:
            return image
        self._store.put(file, image)
        return image[:0]

    def _report(self, files: Sequence[int]) -> None:
        for file in files:
            self.on_failure(file)
            problem = f"{printable(self.names[file])} {self.bad[file]}"
            if not self._skip:
                raise DataError(f"{problem}. --skip_corrupt goes on without it.")
            if len(self.bad) <= _NAMED:
                warnings.warn(f"skipped: {problem} ({len(self.bad)} so far)", stacklevel=2)


class FileSource:
    """Some of the files as the images of a split.

    Args:
      files: all of them.
      numbers: int64 [n], which ones.
      labels: int32 [n].
    """

    def __init__(self, files: ImageFiles, numbers: np.ndarray, labels: np.ndarray) -> None:
        self.labels, self.image_shape = labels, files.shape
        self._files, self._numbers = files, numbers

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def skipped(self) -> int:
        """See Source."""
        return int(np.isin(self._numbers, list(self._files.bad)).sum()) if self._files.bad else 0

    def images(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See Source. Where a file cannot be used, the next one that can be takes its place."""
        images, indices = tf.numpy_function(self._images, [indices], (tf.uint8, tf.int64), stateful=False)
        return tf.ensure_shape(images, [None, *self.image_shape]), tf.ensure_shape(indices, [None])

    def _images(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        while True:
            indices = self._usable(indices)
            images = self._files.read(self._numbers[indices])
            if self._usable(indices) is indices:
                return images, indices

    def _usable(self, indices: np.ndarray) -> np.ndarray:
        """The same numbers; where files are in `bad`, a new array with the next ones that are not."""
        bad = self._files.bad
        if not bad or not np.isin(self._numbers[indices], list(bad)).any():
            return indices
        found = indices.copy()
        for place, index in enumerate(indices.tolist()):
            following = ((index + step) % len(self) for step in range(len(self)))
            usable = next((i for i in following if self._numbers[i] not in bad), None)
            if usable is None:
                raise DataError("Not one image of this split can be used.")
            found[place] = usable
        return found


def default_workers() -> int:
    """The cores that this process may use, at most 16."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 16)
