"""A tree of PNG and JPEG files, as --problem folder reads it; also ImageNet's tree train/n01440764/*.JPEG.

train/ and validation/ (or valid/, val/, test/) where there are both, else a hash of each file's name decides.
Sub-folders are classes, in the order of their names; attributes.csv in the folder or beside it gives attributes.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

from data_loaders.errors import DataError
from data_loaders.folder.attributes import find_attributes, rows_of
from data_loaders.folder.images import BadImageError, read_upright
from data_loaders.folder.scan import find_images, folder_classes, split_files
from data_loaders.generate_tfr.formats import Picture, Reader
from data_loaders.generate_tfr.pixels import square
from data_loaders.text import printable

_TEST_FRACTION = 0.1


class Images(Reader):
    """See the module. An item is (name, label, attributes)."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._root, self._size = args.source, args.size
        names = find_images(self._root)
        train, test, told_by = split_files(names, _TEST_FRACTION)
        used = [*train, *test]
        _, labels = folder_classes(used, told_by) or ((), np.zeros(len(used), np.int32))
        attributes = find_attributes(self._root, "", names)
        values = [()] * len(used) if attributes is None else rows_of(attributes, self._root, used).tolist()
        items = [(name, y, tuple(row)) for name, y, row in zip(used, labels.tolist(), values, strict=True)]
        self.items = {"train": items[: len(train)], "validation": items[len(train) :]}

    def read(self, item: Any) -> Picture:
        """See Reader."""
        name, label, attributes = item
        try:
            pixels = np.asarray(read_upright(os.path.join(self._root, name), 3))
            return Picture(square(pixels, self._size, enlarge=False), label, attributes)
        except BadImageError as error:
            raise DataError(f"{printable(name)} {error}") from error
