"""ImageNet's TFRecords: SOURCE holds train-XXXXX-of-01024 and validation-XXXXX-of-00128.

They have `image/encoded` (JPEG) and `image/class/label` (1 to 1000, of which 1 is taken away), as TensorFlow's models
use them. The folder tree of ImageNet goes through the format `folder`.
"""

from __future__ import annotations

import argparse
import os
import re
from typing import Any

import tensorflow as tf

from data_loaders.errors import DataError
from data_loaders.folder.images import BadImageError
from data_loaders.generate_tfr.formats import Picture, Reader
from data_loaders.generate_tfr.pixels import decode, square
from data_loaders.text import listing, printable
from data_loaders.tfrecords.records import Records

_FILE = re.compile(r"(train|validation)-(\d+)-of-(\d+)")
_PICTURES = ("JPEG", "PNG")


class Images(Reader):
    """See the module. An item is (split, number of the record)."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._size = args.size
        self._records = {split: Records(_files(args.source, split)) for split in ("train", "validation")}
        self.items = {
            split: [(split, number) for number in range(len(records))] for split, records in self._records.items()
        }

    def read(self, item: Any) -> Picture:
        """See Reader."""
        split, number = item
        where, record = self._records[split].read(number)
        try:
            features = tf.train.Example.FromString(record).features.feature
            (data,) = features["image/encoded"].bytes_list.value
            (label,) = features["image/class/label"].int64_list.value
        except Exception as error:  # protobuf's own errors differ by its implementation
            raise DataError(f"{where}: it has no image/encoded and image/class/label") from error
        if label < 1:
            raise DataError(f"{where}: its label is {label}; 1 and above are allowed")
        try:
            return Picture(square(decode(data, _PICTURES), self._size, enlarge=True), label - 1)
        except BadImageError as error:
            raise DataError(f"{where} {error}") from error


def _files(root: str, split: str) -> list[str]:
    found = [m for name in sorted(os.listdir(root)) if (m := _FILE.fullmatch(name)) and m[1] == split]
    if not found:
        raise DataError(f"{printable(root)} has no {split}-XXXXX-of-XXXXX.")
    names = {match.string for match in found}
    missing = [name for i in range(int(found[0][3])) if (name := f"{split}-{i:05d}-of-{found[0][3]}") not in names]
    if missing:
        raise DataError(f"{len(missing)} files in {printable(root)} are missing:\n{listing(missing)}")
    return [os.path.join(root, name) for name in sorted(names)]
