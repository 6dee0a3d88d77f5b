"""A DataSet of TFRecords: read in long pieces, every rank its own part."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from data_loaders import sampling
from data_loaders.dataset import DataSet, without_sharding
from data_loaders.tfrecords.order import BLOCK_BYTES, WindowedShuffle, stretches
from data_loaders.tfrecords.source import RecordSource

_CROP_STREAM = 0x2C9277B5
_TEST_CROPS = 0  # the seed of the crops of a data set that is gone through in order


class RecordDataSet(DataSet):
    """TFRecords as a DataSet.

    Rank r has the r-th of `size` parts of the list of records, in training as in testing: its own files, and where
    these do not go up evenly (or are fewer than the ranks) a part of the records of a file. So a rank reads, and its
    machine keeps in memory, only its part. Unlike other data sets, two ranks with half a batch each therefore do not
    see the images that one rank with a whole batch sees; and the parts change where `size` does.

    Every rank's order is that of data_loaders.tfrecords.order.
    """

    _sources: dict[str, RecordSource]

    def _train_batches(
        self, batch_size: int, rank: int, size: int, start: int, offset: int, seed: int
    ) -> tf.data.Dataset:
        """A start inside an epoch reads one window of records before its first batch.

        The ranks have gone through `offset` images in equal shares: each is as far in its own part.
        """
        before = start * batch_size + offset // size
        batches = self._shuffled(rank, size, before, seed).batch(batch_size, drop_remainder=True)

        def finish(step: tf.Tensor, record: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            first = offset + sampling.first_position(step, batch_size, rank, size)
            return self._decoded(*record, first, batch_size, seed)

        return self._map(batches.enumerate(start), finish)

    def _batches_in_order(self, split: str, bounds: np.ndarray) -> tf.data.Dataset:
        """Crops are at places that belong to each record, always the same."""
        source = self._sources[split]

        def places(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
            return source.places(*stretches(source.index, int(low), int(high), max(1, int(high - low))))

        def batch(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            kinds = (tf.int64, tf.int64, tf.int64, tf.string)
            arguments = [tf.ensure_shape(a, [None]) for a in tf.numpy_function(places, [low, high], kinds)]
            numbers, records = source.read(*arguments)
            corners = self._corners(low, high - low, _TEST_CROPS) if source.form.crop else None
            images, labels = source.decode(numbers, records, corners)
            return tf.ensure_shape(self._finish(images), [None, *self.image_shape]), labels

        return self._map(tf.data.Dataset.from_tensor_slices((bounds[:-1], bounds[1:])), batch)

    def _init_batch(self, n: int, rank: int, size: int, seed: int) -> tuple[tf.Tensor, tf.Tensor]:
        numbers, records = next(iter(self._shuffled(rank, size, 0, seed).batch(n)))
        return self._decoded(numbers, records, tf.constant(rank * n, tf.int64), n, seed)

    def attribute_values(self, split: str) -> np.ndarray | None:
        """See DataSet. The first call reads all records."""
        count = self._count(split)
        return None if self.attributes is None else self._sources[split].attributes[:count].copy()

    def _shuffled(self, rank: int, size: int, start: int, seed: int) -> tf.data.Dataset:
        """The endless (number, record) of a rank, from a position of its own order on."""
        source = self._sources["train"]
        low, high = rank * self.n_train // size, (rank + 1) * self.n_train // size
        if low == high:  # more ranks than records
            low, high = rank % self.n_train, rank % self.n_train + 1
        order = WindowedShuffle(source.index, low, high, seed, source.record_bytes)
        window, skip = order.find(start)

        def places(window: np.ndarray) -> tuple[np.ndarray, ...]:
            first, count, arranged = order.pieces(int(window))
            return (*source.places(first, count), arranged)

        def read(window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            kinds = (tf.int64, tf.int64, tf.int64, tf.string, tf.int64)
            *arguments, shuffle = [tf.ensure_shape(a, [None]) for a in tf.numpy_function(places, [window], kinds)]
            numbers, records = source.read(*arguments)
            return tf.gather(numbers, shuffle), tf.gather(records, shuffle)

        windows = tf.data.Dataset.range(window, np.iinfo(np.int64).max)
        windows = windows.map(tf.autograph.experimental.do_not_convert(read)).with_options(without_sharding())
        ahead = order.count * source.record_bytes > 2 * BLOCK_BYTES  # the next window, while this one is used
        return (windows.prefetch(1) if ahead else windows).unbatch().skip(skip)

    def _decoded(
        self, numbers: tf.Tensor, records: tf.Tensor, first: tf.Tensor, count: int, seed: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        source = self._sources["train"]
        corners = self._corners(first, count, seed) if source.form.crop else None
        return self._augmented(*source.decode(numbers, records, corners), first, count, seed)

    def _corners(self, first: tf.Tensor, count: int | tf.Tensor, seed: int) -> tf.Tensor:
        return sampling.uniforms(first, count, seed ^ _CROP_STREAM)[:, :2]
