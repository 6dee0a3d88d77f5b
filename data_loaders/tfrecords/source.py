"""Records as a source of images: read in tf.data, each checked, with the few damaged ones named or left out."""

from __future__ import annotations

import functools
import os
import warnings

import numpy as np
import tensorflow as tf

from data_loaders.errors import DataError
from data_loaders.text import printable
from data_loaders.tfrecords.examples import Form, parse
from data_loaders.tfrecords.framing import open_at, read_record
from data_loaders.tfrecords.index import RecordIndex
from data_loaders.tfrecords.order import BLOCK_BYTES

_NAMED = 20  # damaged records that are named one by one


class RecordSource:
    """The images of a split.

    Args:
      index: its records.
      form: what each must be.
      record_bytes: about how large each is.
      skip_corrupt: use the next good record in place of a damaged one instead of raising.
      readers: files read at once.
    """

    def __init__(self, index: RecordIndex, form: Form, *, record_bytes: int, skip_corrupt: bool, readers: int) -> None:
        self.index, self.form, self.image_shape, self.record_bytes = index, form, form.shape, record_bytes
        self._skip, self._readers = skip_corrupt, readers
        self._damaged: set[int] = set()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def skipped(self) -> int:
        """Damaged records (or ends of files) that were met so far and left out."""
        return len(self._damaged) + len(self.index.problems)

    @property
    def labels(self) -> np.ndarray:
        """int32 [n]. The first use reads all records."""
        return self._all[0]

    @property
    def attributes(self) -> np.ndarray:
        """int8 [n, A] of -1 and 1. The first use reads all records."""
        return self._all[1]

    def read(
        self, first: tf.Tensor, count: tf.Tensor, offset: tf.Tensor, path: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads stretches of records that lie together, as operations of TensorFlow.

        Args:
          first: int64 [m], the number of the first record of each stretch.
          count: int64 [m], how many.
          offset: int64 [m], where in their file they begin.
          path: string [m], the files.

        Returns:
          int64 [n] numbers and string [n] records, in this order; "" for those that TensorFlow could not read.
        """
        most = tf.reduce_max(tf.concat([count, [1]], 0))
        nothing = tf.data.Dataset.from_tensors("").repeat()

        def stretch(first: tf.Tensor, count: tf.Tensor, offset: tf.Tensor, path: tf.Tensor) -> tf.data.Dataset:
            records = open_at(path, offset, BLOCK_BYTES).ignore_errors(log_warning=False).concatenate(nothing)
            return tf.data.Dataset.zip((tf.data.Dataset.range(first, first + count), records))

        stretches = tf.data.Dataset.from_tensor_slices((first, count, offset, path))
        records = stretches.interleave(
            stretch, cycle_length=self._readers, block_length=most, num_parallel_calls=self._readers, deterministic=True
        )
        last = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), ""))  # a batch must not be empty
        total = tf.reduce_sum(count)
        numbers, data = records.concatenate(last).batch(total + 1).get_single_element()
        return numbers[:total], data[:total]

    def places(self, first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The arguments of `read` for stretches: the first record and the number of each, int64 [m] both.

        Raises:
          DataError: a file is gone, or has another size than when the data set was loaded.
        """
        files = np.searchsorted(self.index.starts, first, side="right") - 1
        for f in set(files.tolist()):
            self._check_file(f)
        paths = np.asarray([os.fsencode(self.index.paths[f]) for f in files], object)
        return first, count, self.index.offsets[first], paths

    def _check_file(self, f: int) -> None:
        """TensorFlow would try for ever to open a file that is not there, since errors are passed over."""
        path = self.index.paths[f]
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise DataError(f"Cannot read {printable(path)}: {error.strerror or error}.") from error
        if size != self.index.sizes[f]:
            raise DataError(f"{printable(path)} has {size} bytes; it had {self.index.sizes[f]} when it was loaded.")

    def decode(self, numbers: tf.Tensor, records: tf.Tensor, corners: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Records to images uint8 [b, H, W, C] and labels int32 [b]; `corners` as in Form.images."""
        data, shapes, labels = self._parse(numbers, records)
        return self.form.images(data, shapes, corners), tf.cast(labels, tf.int32)

    def _parse(self, numbers: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        def with_substitutes() -> tf.Tensor:
            return tf.ensure_shape(tf.numpy_function(self._substitute, [numbers, records], tf.string), records.shape)

        records = tf.cond(tf.reduce_any(records == ""), with_substitutes, lambda: records)
        data, shapes, labels, good = self.form.parse_batch(records)
        return tf.cond(good, lambda: (data, shapes, labels), lambda: self.form.parse_batch(with_substitutes())[:3])

    def _substitute(self, numbers: np.ndarray, records: np.ndarray) -> np.ndarray:
        """The same records, with the damaged ones replaced by the next good ones.

        Raises:
          DataError: there are damaged ones, and they are not to be skipped.
        """
        return np.asarray(
            [self._good(int(number), record) for number, record in zip(numbers, records, strict=True)], object
        )

    def _good(self, number: int, record: bytes) -> bytes:
        if record and not self.form.problem(record):
            return record
        for step in range(len(self)):
            candidate = (number + step) % len(self)
            path, offset = self.index.place(candidate)
            try:  # TensorFlow gives up on a stretch at its first damaged record: the others are read here
                record = read_record(path, offset)
                problem = self.form.problem(record)
            except DataError as error:
                problem = str(error)
            if not problem:
                return record
            self._refuse(candidate, f"{printable(path)}, record at byte {offset}: {problem}")
        raise DataError(f"{printable(path)}: not one record of this data set can be used.")

    def _refuse(self, number: int, problem: str) -> None:
        if not self._skip:
            raise DataError(f"{problem}. --skip_corrupt goes on without it.")
        if number not in self._damaged:
            self._damaged.add(number)
            if len(self._damaged) <= _NAMED:
                warnings.warn(f"skipped: {problem} ({self.skipped} so far)", stacklevel=2)

    @functools.cached_property
    def _all(self) -> tuple[np.ndarray, np.ndarray]:
        labels, attributes = [], []
        for f in range(len(self.index.paths)):
            low, high = (int(self.index.starts[i]) for i in (f, f + 1))
            if low == high:
                continue
            arguments = self.places(np.asarray([low]), np.asarray([high - low]))
            numbers, records = self.read(*map(tf.constant, arguments))
            for number, record in zip(numbers.numpy(), records.numpy(), strict=True):
                example = parse(self._good(int(number), record))
                labels.append(example.label)
                attributes.append(np.where(example.attributes[: self.form.attributes] > 0, 1, -1))
        return np.asarray(labels, np.int32), np.asarray(attributes, np.int8).reshape(len(labels), self.form.attributes)
