"""TFRecords of other tools, read by number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data_loaders.errors import DataError
from data_loaders.text import listing, printable
from data_loaders.tfrecords.framing import find_records, open_at, read_record


class Records:
    """The records of some files, numbered through.

    Args:
      paths: the files.

    Raises:
      DataError: one of them is damaged, or there are no records.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        scans = [find_records(path) for path in paths]
        problems = [problem for _, problem in scans if problem]
        if problems:
            raise DataError(f"{len(problems)} of {len(paths)} files are damaged:\n{listing(problems)}")
        self._offsets = np.concatenate([offsets for offsets, _ in scans])
        self._ends = np.cumsum([len(offsets) for offsets, _ in scans])
        if not len(self._offsets):
            raise DataError(f"{printable(paths[0])} holds no records.")

    def __len__(self) -> int:
        return len(self._offsets)

    def read(self, number: int) -> tuple[str, bytes]:
        """Where a record is, in words, and its bytes.

        Raises:
          DataError: it is damaged.
        """
        path = self._paths[int(np.searchsorted(self._ends, number, side="right"))]
        offset = int(self._offsets[number])
        where = f"{printable(path)}, record at byte {offset}"
        try:
            return where, open_at(path, offset, 0).take(1).get_single_element().numpy()
        except tf.errors.OpError:
            try:  # says what is wrong with it
                return where, read_record(path, offset)
            except DataError as error:
                raise DataError(f"{where}: {error}") from error
