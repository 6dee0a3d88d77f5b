"""DataSet: what every problem is, once loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from data_loaders import sampling
from data_loaders.augment import NO_AUGMENTATION, Augmentation, augment
from data_loaders.errors import DataError
from data_loaders.request import MAX_SEED, Request
from data_loaders.resize import check_downsampling, downsample, to_uint8
from data_loaders.sources import Described

_ENDLESS = np.iinfo(np.int64).max


class DataSet:
    """A training and a test set of images with labels.

    All batches are pairs (x uint8 [N, H, W, C], y int32 [N]). Every method is a pure function of
    its arguments: asked twice, it gives the same images.

    Attributes:
      name: the problem.
      image_shape: (H, W, C).
      n_y: number of classes, 1 where there are no labels.
      n_train, n_test: number of images.
      class_names: n_y names, or None.
      attributes: names of the binary attributes that every image has, or None.
    """

    def __init__(
        self,
        request: Request,
        train: Described,
        test: Described,
        *,
        n_y: int,
        augmentation: Augmentation = NO_AUGMENTATION,
        class_names: Sequence[str] | None = None,
        attributes: Sequence[str] | None = None,
        attribute_values: Mapping[str, np.ndarray] | None = None,
        file_names: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Describes the data; nothing is read yet.

        Args:
          request: what was asked for; image_size must be a whole fraction of the sources' size.
          train: the training images: a Source, unless a subclass reads in another way.
          test: the test images, likewise.
          n_y: number of classes.
          augmentation: of the training images.
          class_names: see the class.
          attributes: see the class.
          attribute_values: "train" and "test" -> int8 [n, len(attributes)] of -1 and 1.
          file_names: "train" and "test" -> names of the images, where they are files.

        Raises:
          DataError: image_size does not fit, or n_test is more than there are.
        """
        height, width, channels = train.image_shape
        size = check_downsampling(request.problem, (height, width), request.image_size)
        n_test = len(test)
        if request.n_test is not None and request.n_test > n_test:
            raise DataError(
                f"n_test is {request.n_test}, but problem {request.problem!r} has {n_test} test images here."
            )
        self.name = request.problem
        self.image_shape: tuple[int, int, int] = (*size, channels)
        self.n_y = n_y
        self.n_train = len(train)
        self.n_test = n_test if request.n_test is None else request.n_test
        self.class_names = None if class_names is None else tuple(class_names)
        self.attributes = None if attributes is None else tuple(attributes)
        self.augmentation = augmentation
        self._attribute_values = attribute_values
        self._file_names = file_names
        self._sources: dict[str, Any] = {"train": train, "test": test}
        self._seed = request.seed
        self._workers = tf.data.AUTOTUNE if request.workers is None else request.workers

    @property
    def skipped(self) -> int:
        """Damaged images that were met so far in this process, and left out."""
        return sum(source.skipped for source in self._sources.values())

    def __repr__(self) -> str:
        return f"<DataSet {self.describe()}>"

    def describe(self) -> str:
        """One line for people: name, counts, shape, classes, attributes."""
        height, width, channels = self.image_shape
        text = f"{self.name}: {self.n_train} training and {self.n_test} test images, "
        text += f"{height}x{width}x{channels}"
        text += f", {self.n_y} classes" if self.n_y > 1 else ", no labels"
        return text + (f", {len(self.attributes)} attributes" if self.attributes else "")

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
        """Endless batches of shuffled, augmented training images.

        Epoch after epoch, each in a fresh order; see data_loaders.sampling for how they are shared
        among ranks. A batch may straddle two epochs, so all have `batch_size` images, whatever the
        size of the data.

        Args:
          batch_size: images per batch of this rank.
          rank: which process asks.
          size: of how many.
          start: the first batch is what a pipeline from 0 would give after `start` batches. Costs
            nothing.
          offset: images of the common sequence that come before the first batch of all ranks, for a
            run whose ranks or batches were others before.
          seed: of the order and augmentation; None for the one given to `load`.
        """
        check_share(batch_size, rank, size)
        for name, value in (("start", start), ("offset", offset)):
            if not isinstance(value, int) or value < 0:
                raise DataError(f"{name} must be a whole number >= 0; got {value!r}.")
        return self._train_batches(batch_size, rank, size, start, offset, self._check_seed(seed))

    def _train_batches(
        self, batch_size: int, rank: int, size: int, start: int, offset: int, seed: int
    ) -> tf.data.Dataset:
        steps = tf.data.Dataset.range(start, (_ENDLESS - offset) // (batch_size * size))

        def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self._training_batch(
                offset + sampling.first_position(step, batch_size, rank, size), batch_size, seed
            )

        return self._map(steps, batch)

    def test_batches(self, batch_size: int, *, rank: int = 0, size: int = 1) -> tf.data.Dataset:
        """The test images in a fixed order, not augmented; see batches_in_order."""
        return self.batches_in_order("test", batch_size, rank=rank, size=size)

    def batches_in_order(self, split: str, batch_size: int, *, rank: int = 0, size: int = 1) -> tf.data.Dataset:
        """All images of a split once, not augmented: finite.

        Rank r has the r-th of `size` consecutive parts whose lengths differ by 1 at most. All ranks
        have the same number of batches. Their last ones may be smaller (average per image, not per
        batch), and where there are fewer images than batches, empty.

        Args:
          split: "train" or "test". The order is that of attribute_values(split) and
            file_names(split).
          batch_size: images per batch.
          rank: which process asks.
          size: of how many.
        """
        check_share(batch_size, rank, size)
        return self._batches_in_order(split, sampling.bounds_in_order(self._count(split), batch_size, rank, size))

    def _batches_in_order(self, split: str, bounds: np.ndarray) -> tf.data.Dataset:
        ranges = tf.data.Dataset.from_tensor_slices((bounds[:-1], bounds[1:]))
        source = self._sources[split]

        def batch(first: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, labels = source.images(tf.range(first, last))
            return self._finish(images), labels

        return self._map(ranges, batch)

    def init_batch(
        self, n: int, *, rank: int = 0, size: int = 1, seed: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """A batch for the data-dependent initialisation: n augmented training images of this rank.

        As in OpenAI's code these are augmented training images. They are drawn with a seed of their
        own, so asking for them does not move train_batches; with fewer than n * size training
        images some come again, in another augmentation.

        Returns:
          x uint8 [n, H, W, C] and y int32 [n] as NumPy arrays.
        """
        check_share(n, rank, size)
        seed = self._check_seed(seed) ^ sampling.INIT_SEED_OFFSET
        with tf.device("CPU:0"):
            x, y = self._init_batch(n, rank, size, seed)
        return x.numpy(), y.numpy()

    def _init_batch(self, n: int, rank: int, size: int, seed: int) -> tuple[tf.Tensor, tf.Tensor]:
        return self._training_batch(tf.constant(rank * n, tf.int64), n, seed)

    def labels(self, split: str) -> np.ndarray:
        """int32 [n], the labels of a split in the order of batches_in_order."""
        return self._sources[split].labels[: self._count(split)].copy()

    def attribute_values(self, split: str) -> np.ndarray | None:
        """int8 [n, len(attributes)] of -1 and 1, in the order of batches_in_order, or None."""
        count = self._count(split)
        return None if self._attribute_values is None else self._attribute_values[split][:count].copy()

    def file_names(self, split: str) -> tuple[str, ...] | None:
        """Names of the images in the order of batches_in_order; None where they are no files."""
        count = self._count(split)
        return None if self._file_names is None else tuple(self._file_names[split][:count])

    def _training_batch(self, first: tf.Tensor, batch_size: int, seed: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The training images at `batch_size` positions from `first` on."""
        source = self._sources["train"]
        positions = first + tf.range(batch_size, dtype=tf.int64)
        indices = sampling.image_indices(positions, self.n_train, seed)
        images, labels = source.images(indices)
        return self._augmented(images, labels, first, batch_size, seed)

    def _augmented(
        self, images: tf.Tensor, labels: tf.Tensor, first: tf.Tensor, count: int, seed: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Training images at `count` positions from `first` on, as they are given out."""
        if self.augmentation:
            images = augment(images, sampling.uniforms(first, count, seed), self.augmentation)
        return tf.ensure_shape(self._finish(images), [count, *self.image_shape]), tf.ensure_shape(labels, [count])

    def _map(self, numbers: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
        """Maps to batches, several at once and in order."""
        function = tf.autograph.experimental.do_not_convert(function)  # nothing to convert: quicker
        batches = numbers.map(function, num_parallel_calls=self._workers, deterministic=True)
        return batches.with_options(without_sharding()).prefetch(2)

    def _finish(self, images: tf.Tensor) -> tf.Tensor:
        """From the sources' size and dtype to those of the data set."""
        if images.shape[1:3] != self.image_shape[:2]:
            images = downsample(images, self.image_shape[:2])
        return to_uint8(images)

    def _count(self, split: str) -> int:
        if split not in self._sources:
            raise DataError(f"split must be 'train' or 'test'; got {split!r}.")
        return self.n_train if split == "train" else self.n_test

    def _check_seed(self, seed: int | None) -> int:
        if seed is None:
            return self._seed
        if not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
            raise DataError(f"seed must be an integer from 0 to 2**63 - 1; got {seed!r}.")
        return seed


def without_sharding() -> tf.data.Options:
    """Options of pipelines whose batches differ by rank already: a strategy must not share them out again."""
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options


def check_share(batch_size: int, rank: int, size: int) -> None:
    """Raises DataError for a batch size, rank or size that cannot be."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise DataError(f"The batch size must be a whole number >= 1; got {batch_size!r}.")
    if not isinstance(size, int) or not isinstance(rank, int) or not 0 <= rank < size:
        raise DataError(f"rank must be from 0 to size - 1; got rank {rank!r}, size {size!r}.")
