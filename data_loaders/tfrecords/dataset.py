"""A DataSet of TFRecords: read in long pieces, every rank its own part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data_loaders import sampling
from data_loaders.augment import FLIPS, NO_AUGMENTATION, augment
from data_loaders.dataset import DataSet, check_share, check_start, without_sharding
from data_loaders.request import Request
from data_loaders.tfrecords.order import BLOCK_BYTES, WindowedShuffle, stretches
from data_loaders.tfrecords.source import Pieces, RecordSource

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

    def __init__(
        self,
        request: Request,
        train: RecordSource,
        test: RecordSource,
        *,
        n_y: int,
        class_names: Sequence[str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> None:
        """As DataSet; dal 2 mirrors half of the training images."""
        super().__init__(
            request,
            train,
            test,
            n_y=n_y,
            augmentation=FLIPS if request.dal == 2 else NO_AUGMENTATION,
            class_names=class_names,
            attributes=attributes,
        )
        self._records: dict[str, RecordSource] = self._sources

    def train_batches(
        self,
        batch_size: int,
        *,
        rank: int = 0,
        size: int = 1,
        start: int = 0,
        offset: int = 0,
        seed: int | None = None,
    ) -> tf.data.Dataset:
        """See DataSet. A start inside an epoch reads one window of records before its first batch.

        The ranks have gone through `offset` images in equal shares: each is as far in its own part.
        """
        check_share(batch_size, rank, size)
        check_start(start, offset)
        seed = self._check_seed(seed)
        before = start * batch_size + offset // size
        batches = self._shuffled(rank, size, before, seed).batch(batch_size, drop_remainder=True)

        def finish(step: tf.Tensor, record: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            first = offset + sampling.first_position(step, batch_size, rank, size)
            return self._augmented(*record, first, batch_size, seed)

        return self._map(batches.enumerate(start), finish)

    def batches_in_order(self, split: str, batch_size: int, *, rank: int = 0, size: int = 1) -> tf.data.Dataset:
        """See DataSet. Crops are at places that belong to each record, always the same."""
        check_share(batch_size, rank, size)
        count, source = self._count(split), self._records[split]
        bounds = sampling.bounds_in_order(count, batch_size, rank, size)

        def places(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
            first, counts = stretches(source.index, int(low), int(high), max(1, int(high - low)))
            return source.places(Pieces(first, counts, np.zeros(0, np.int64)))

        def batch(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            kinds = (tf.int64, tf.int64, tf.int64, tf.string)
            arguments = [tf.ensure_shape(a, [None]) for a in tf.numpy_function(places, [low, high], kinds)]
            numbers, records = source.read(*arguments)
            corners = self._corners(low, high - low, _TEST_CROPS) if source.form.crop else None
            images, labels = source.decode(numbers, records, corners)
            return tf.ensure_shape(self._finish(images), [None, *self.image_shape]), labels

        return self._map(tf.data.Dataset.from_tensor_slices((bounds[:-1], bounds[1:])), batch)

    def init_batch(
        self, n: int, *, rank: int = 0, size: int = 1, seed: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See DataSet."""
        check_share(n, rank, size)
        seed = self._check_seed(seed) ^ sampling.INIT_SEED_OFFSET
        with tf.device("CPU:0"):
            numbers, records = next(iter(self._shuffled(rank, size, 0, seed).batch(n)))
            x, y = self._augmented(numbers, records, tf.constant(rank * n, tf.int64), n, seed)
        return x.numpy(), y.numpy()

    def attribute_values(self, split: str) -> np.ndarray | None:
        """See DataSet. The first call reads all records."""
        count = self._count(split)
        return None if self.attributes is None else self._records[split].attributes[:count].copy()

    def _shuffled(self, rank: int, size: int, start: int, seed: int) -> tf.data.Dataset:
        """The endless (number, record) of a rank, from a position of its own order on."""
        source = self._records["train"]
        low, high = rank * self.n_train // size, (rank + 1) * self.n_train // size
        if low == high:  # more ranks than records
            low, high = rank % self.n_train, rank % self.n_train + 1
        order = WindowedShuffle(source.index, low, high, seed, source.record_bytes)
        window, skip = order.find(start)

        def places(window: np.ndarray) -> tuple[np.ndarray, ...]:
            pieces = order.pieces(int(window))
            return (*source.places(pieces), pieces.order)

        def read(window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            kinds = (tf.int64, tf.int64, tf.int64, tf.string, tf.int64)
            *arguments, shuffle = [tf.ensure_shape(a, [None]) for a in tf.numpy_function(places, [window], kinds)]
            numbers, records = source.read(*arguments)
            return tf.gather(numbers, shuffle), tf.gather(records, shuffle)

        windows = tf.data.Dataset.range(window, np.iinfo(np.int64).max)
        windows = windows.map(tf.autograph.experimental.do_not_convert(read)).with_options(without_sharding())
        ahead = order.count * source.record_bytes > 2 * BLOCK_BYTES  # the next window, while this one is used
        return (windows.prefetch(1) if ahead else windows).unbatch().skip(skip)

    def _augmented(
        self, numbers: tf.Tensor, records: tf.Tensor, first: tf.Tensor, count: int, seed: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        source = self._records["train"]
        corners = self._corners(first, count, seed) if source.form.crop else None
        images, labels = source.decode(numbers, records, corners)
        if self.augmentation:
            images = augment(images, sampling.uniforms(first, count, seed), self.augmentation)
        images = tf.ensure_shape(self._finish(images), [count, *self.image_shape])
        return images, tf.ensure_shape(labels, [count])

    def _corners(self, first: tf.Tensor, count: int | tf.Tensor, seed: int) -> tf.Tensor:
        return sampling.uniforms(first, count, seed ^ _CROP_STREAM)[:, :2]
