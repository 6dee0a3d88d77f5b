"""What a record holds: a tf.train.Example with OpenAI's features.

| feature | | |
|---|---|---|
| shape | int64 [3] | H, W, C |
| data | bytes | the pixels, uint8 [H, W, C] |
| label | int64 [1] | the class, 0 where there are none |
| attr | int64 [A] | binary attributes (above 0: yes); not in all data sets, may be empty |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from data_loaders.errors import DataError

_FEATURES = {
    "shape": tf.io.FixedLenFeature([3], tf.int64, [0, 0, 0]),
    "data": tf.io.FixedLenFeature([], tf.string, ""),
    "label": tf.io.FixedLenFeature([1], tf.int64, [-1]),
}


@dataclass(frozen=True)
class Form:
    """What every record of a data set must be.

    Attributes:
      shape: (H, W, C) of the images, or with `crop` of what is cut out of them.
      n_y: labels are below it.
      attributes: how many attributes each record has; 0: whatever is there is left alone.
      crop: images may be larger than `shape`.
    """

    shape: tuple[int, int, int]
    n_y: int
    attributes: int = 0
    crop: bool = False

    def problem(self, record: bytes) -> str:
        """Why a record cannot be used; "" if it can."""
        try:
            example = parse(record)
        except DataError as error:
            return str(error)
        shape = example.image.shape
        wanted = "x".join(map(str, self.shape))
        fits = shape[2] == self.shape[2] and shape[0] >= self.shape[0] and shape[1] >= self.shape[1]
        if not (fits if self.crop else shape == self.shape):
            least = "at least " if self.crop else ""
            return f"its image is {'x'.join(map(str, shape))}, not {least}{wanted}"
        if not 0 <= example.label < self.n_y:
            return f"its label is {example.label}; allowed are 0 to {self.n_y - 1}"
        if self.attributes and len(example.attributes) != self.attributes:
            return f"it has {len(example.attributes)} attributes, not {self.attributes}"
        return ""

    def parse_batch(self, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Records as operations of TensorFlow.

        Args:
          records: string [b], tf.train.Examples.

        Returns:
          data string [b], shapes int64 [b, 3], labels int64 [b], and whether all are of this form.
        """
        features = tf.io.parse_example(records, _FEATURES)
        data, shapes, labels = features["data"], features["shape"], features["label"][:, 0]
        wanted = tf.constant(self.shape, tf.int64)
        fits = shapes[:, 2:] == wanted[2:]
        fits &= (shapes[:, :2] >= wanted[:2]) if self.crop else (shapes[:, :2] == wanted[:2])
        lengths = tf.strings.length(data) == tf.cast(tf.reduce_prod(shapes, axis=1), tf.int32)
        good = tf.reduce_all(fits) & tf.reduce_all(lengths)
        return data, shapes, labels, good & tf.reduce_all((labels >= 0) & (labels < self.n_y))

    def images(self, data: tf.Tensor, shapes: tf.Tensor, corners: tf.Tensor | None) -> tf.Tensor:
        """The pixels of parsed records, uint8 [b, *shape].

        Args:
          data: string [b].
          shapes: int64 [b, 3].
          corners: where `crop`: float32 [b, 2] in [0, 1), which of the possible places the part is cut out of.
        """
        if corners is None:
            return tf.reshape(tf.io.decode_raw(data, tf.uint8), [-1, *self.shape])
        height, width, channels = self.shape

        def cut(part: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
            pixels, shape, corner = part
            room = tf.cast(shape[:2] - [height, width] + 1, tf.float32)
            top_left = tf.cast(corner * room, tf.int64)
            pixels = tf.reshape(tf.io.decode_raw(pixels, tf.uint8), shape)
            return tf.slice(pixels, tf.concat([top_left, [0]], 0), [height, width, channels])

        return tf.map_fn(cut, (data, shapes, corners), fn_output_signature=tf.TensorSpec(self.shape, tf.uint8))


@dataclass(frozen=True)
class Example:
    """A parsed record.

    Attributes:
      image: uint8 [H, W, C].
      label: its class.
      attributes: int64 [A], as they are stored.
    """

    image: np.ndarray
    label: int
    attributes: np.ndarray


def parse(record: bytes) -> Example:
    """Takes a record apart.

    Raises:
      DataError: it is not of this kind; the message is the reason.
    """
    features = features_of(record)
    there = ", ".join(sorted(features)) or "none"
    for name, kind in (("shape", "int64_list"), ("data", "bytes_list"), ("label", "int64_list")):
        if name not in features or features[name].WhichOneof("kind") != kind:
            raise DataError(f"it has no feature {name!r} ({kind}); its features: {there}")
    shape = tuple(features["shape"].int64_list.value)
    data, labels = features["data"].bytes_list.value, features["label"].int64_list.value
    if len(shape) != 3 or min(shape) < 1 or len(data) != 1 or len(data[0]) != shape[0] * shape[1] * shape[2]:
        sizes = [len(value) for value in data]
        raise DataError(f"its data of {sizes} bytes is no image of shape {list(shape)}")
    if len(labels) != 1:
        raise DataError(f"it has {len(labels)} labels, not 1")
    attributes = np.asarray(features["attr"].int64_list.value if "attr" in features else [], np.int64)
    return Example(np.frombuffer(data[0], np.uint8).reshape(shape), int(labels[0]), attributes)


def features_of(record: bytes) -> Any:
    """The features of a tf.train.Example, by name.

    Raises:
      DataError: it is none.
    """
    try:
        return tf.train.Example.FromString(record).features.feature
    except Exception as error:  # protobuf's own errors differ by its implementation
        raise DataError("it is no tf.train.Example") from error


def make_record(image: np.ndarray, label: int, attributes: Sequence[int] | np.ndarray = ()) -> bytes:
    """A record: image uint8 [H, W, C], its class, and its attributes."""

    def integers(values: Sequence[int] | np.ndarray) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))

    feature = {
        "shape": integers(image.shape),
        "data": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
        "label": integers([label]),
        "attr": integers(attributes),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)
