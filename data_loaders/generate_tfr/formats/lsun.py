"""LSUN: SOURCE holds {category}_train_lmdb and {category}_val_lmdb, as LSUN's zip files unpack.

With --realnvp the shorter side becomes --size (96) and nothing is cut off: training then takes random crops, as in
RealNVP, and there is one resolution.
"""

from __future__ import annotations

import argparse
import functools
import os
from typing import Any

from data_loaders.errors import DataError
from data_loaders.folder.images import BadImageError
from data_loaders.generate_tfr.formats import Picture, Reader
from data_loaders.generate_tfr.pixels import decode, shorter_side, square
from data_loaders.text import printable

_PICTURES = ("WEBP", "JPEG", "PNG")


class Images(Reader):
    """See the module. An item is (split, key in hexadecimal)."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._size, self._realnvp = args.size, args.realnvp
        if args.realnvp:
            self.smallest = args.size
        self._folders = {s: os.path.join(args.source, f"{args.category}_{s}_lmdb") for s in ("train", "val")}
        for folder in self._folders.values():
            if not os.path.exists(os.path.join(folder, "data.mdb")):
                raise DataError(f"There is no {printable(folder)}/data.mdb: is it unpacked?")
        self.items = {"train": self._keys("train"), "validation": self._keys("val")}

    def read(self, item: Any) -> Picture:
        """See Reader."""
        split, key = item
        try:
            with _database(self._folders[split]).begin(buffers=True) as transaction:
                data = transaction.get(bytes.fromhex(key))
                if data is None:
                    raise BadImageError("is no longer there")
                pixels = decode(bytes(data), _PICTURES)
        except BadImageError as error:
            name = bytes.fromhex(key).decode("ascii", "backslashreplace")
            raise DataError(f"{printable(self._folders[split])}, key {name} {error}") from error
        if self._realnvp:
            return Picture(shorter_side(pixels, self._size))
        return Picture(square(pixels, self._size, enlarge=True))

    def _keys(self, split: str) -> list[Any]:
        with _database(self._folders[split]).begin() as transaction:
            return [(split, key.hex()) for key in transaction.cursor().iternext(keys=True, values=False)]


@functools.cache  # opened once in each process
def _database(folder: str) -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise DataError("LSUN is read with the lmdb package: pip install lmdb.") from error
    try:
        return lmdb.open(folder, readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise DataError(f"{printable(folder)} cannot be opened: {error}.") from error
