"""CelebA-HQ as the tool of Progressive Growing of GANs writes it: one file NAME-rNN.tfrecords for each resolution.

Its records have `data` and `shape` in the order C, H, W, and `attr` where attributes were added. As in OpenAI's code,
the first --validation images (3000) are for validation and the others for training.
"""

from __future__ import annotations

import argparse
import glob
import os
from typing import Any

import numpy as np
import tensorflow as tf

from data_loaders.errors import DataError
from data_loaders.generate_tfr.formats import Picture, Reader
from data_loaders.text import printable
from data_loaders.tfrecords.naming import level_of
from data_loaders.tfrecords.records import Records


class Images(Reader):
    """See the module. An item is the number of a record."""

    def __init__(self, args: argparse.Namespace) -> None:
        root, size, validation = args.source, args.size, args.validation
        pattern = f"*-r{level_of(size):02d}.tfrecords"
        found = sorted(glob.glob(os.path.join(glob.escape(root), pattern)))
        if len(found) != 1 or size != 2 ** level_of(size):
            there = ", ".join(sorted(name for name in os.listdir(root) if name.endswith(".tfrecords"))) or "none"
            raise DataError(
                f"{printable(root)} must hold one {pattern}, of {size}x{size} images; its TFRecords: {there}."
            )
        self._size, self._records = size, Records(found)
        n = len(self._records)
        if not 0 < validation < n:
            raise DataError(
                f"--validation is {validation}, but {printable(found[0])} has {n} images: 1 to {n - 1} are allowed."
            )
        self.items = {"train": range(validation, n), "validation": range(validation)}

    def read(self, item: Any) -> Picture:
        """See Reader."""
        where, record = self._records.read(item)
        try:
            features = tf.train.Example.FromString(record).features.feature
            shape, data = list(features["shape"].int64_list.value), features["data"].bytes_list.value
        except Exception as error:  # protobuf's own errors differ by its implementation
            raise DataError(f"{where}: it is no tf.train.Example") from error
        if shape not in ([3, self._size, self._size], [1, self._size, self._size]) or len(data) != 1:
            raise DataError(f"{where}: its shape is {shape}, not [3, {self._size}, {self._size}] (channels first)")
        if len(data[0]) != np.prod(shape):
            raise DataError(f"{where}: its data has {len(data[0])} bytes, not those of {shape}")
        pixels = np.frombuffer(data[0], np.uint8).reshape(shape).transpose(1, 2, 0)
        pixels = np.broadcast_to(pixels, [self._size, self._size, 3]).astype(np.float32)
        return Picture(pixels, 0, tuple(features["attr"].int64_list.value) if "attr" in features else ())
