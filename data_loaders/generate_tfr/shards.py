"""One shard, at every resolution: written aside, flushed to the disk, read back, renamed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from data_loaders.atomic import WRITING
from data_loaders.errors import DataError
from data_loaders.generate_tfr.formats import Reader
from data_loaders.generate_tfr.pixels import halves, round_down
from data_loaders.text import printable
from data_loaders.tfrecords.examples import Form, make_record
from data_loaders.tfrecords.naming import shard_name

_MOST_LABELS = 2**31 - 1


@dataclass(frozen=True)
class Shard:
    """A shard to be made.

    Attributes:
      folder: the data set's.
      split: "train" or "validation".
      number: which shard.
      shards: of how many.
      sides: the resolutions.
      items: the reader's items, in this order.
      crop: images are larger than the side, and at one resolution.
    """

    folder: str
    split: str
    number: int
    shards: int
    sides: tuple[int, ...]
    items: Sequence[Any]
    crop: bool

    @property
    def paths(self) -> list[str]:
        """Its files, one for each resolution."""
        names = [shard_name(self.split, side, self.number, self.shards) for side in self.sides]
        return [os.path.join(self.folder, self.split, name) for name in names]

    @property
    def done(self) -> bool:
        """Whether it is there at every resolution."""
        return all(os.path.exists(path) for path in self.paths)


def make_shard(reader: Reader, shard: Shard, *, skip_corrupt: bool) -> list[str]:
    """Makes a shard's files.

    Returns:
      What was left out, a line for each image.

    Raises:
      DataError: an image cannot be used and is not to be skipped, or what was written does not read back.
      OSError: such as a full disk.
    """
    aside = [os.path.join(os.path.dirname(path), WRITING + os.path.basename(path)) for path in shard.paths]
    problems: list[str] = []
    try:
        writers = [tf.io.TFRecordWriter(path) for path in aside]
        for item in shard.items:
            try:
                picture = reader.read(item)
            except DataError as error:
                if not skip_corrupt:
                    raise
                problems.append(str(error))
                continue
            images = [round_down(picture.pixels)] if shard.crop else halves(picture.pixels, shard.sides)
            for writer, image in zip(writers, images, strict=True):
                writer.write(make_record(image, picture.label, picture.attributes))
        for writer in writers:
            writer.close()
        for path, side in zip(aside, shard.sides, strict=True):
            _check(path, len(shard.items) - len(problems), Form((side, side, 3), _MOST_LABELS, crop=shard.crop))
    except tf.errors.OpError as error:
        raise OSError(f"cannot write {printable(aside[0])}: {error.message}") from error
    for path, final in zip(aside, shard.paths, strict=True):
        os.replace(path, final)
    return problems


def _check(path: str, count: int, form: Form) -> None:
    """Reads a file back, checksums included, after it has reached the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
    read, good = 0, True
    for records in tf.data.TFRecordDataset(path).batch(256):
        read += len(records)
        good = good and bool(form.parse_batch(records)[3])
    if read != count or not good:
        raise DataError(f"{printable(path)} does not hold the {count} images that were written: it reads back {read}.")
