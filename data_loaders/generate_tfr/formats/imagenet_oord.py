"""The downsampled ImageNet of PixelRNN: train_64x64 and valid_64x64 (or 32x32), as zip files or unpacked.

Only the resolution that is there is written, as in OpenAI's code: its 32x32 images are no averages of the 64x64 ones.
There are no labels.
"""

from __future__ import annotations

import argparse
import functools
import os
import zipfile
from typing import Any

from data_loaders.bounded import read_bounded
from data_loaders.errors import DataError
from data_loaders.folder.images import BadImageError
from data_loaders.folder.scan import find_images
from data_loaders.generate_tfr.formats import Picture, Reader
from data_loaders.generate_tfr.pixels import decode
from data_loaders.text import printable

_LIMIT = 2**24  # bytes of one picture's file
_SPLITS = {"train": "train", "validation": "valid"}


class Images(Reader):
    """See the module. An item is (split, name)."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._size = self.smallest = size = args.size
        self._places = {split: _place(args.source, f"{name}_{size}x{size}") for split, name in _SPLITS.items()}
        self.items = {split: self._list(split) for split in _SPLITS}

    def read(self, item: Any) -> Picture:
        """See Reader."""
        split, name = item
        place = self._places[split]
        try:
            if place.endswith(".zip"):
                if _zip(place).getinfo(name).file_size > _LIMIT:
                    raise BadImageError(f"has more than {_LIMIT} bytes")
                data = _zip(place).read(name)
            else:
                data = read_bounded(os.path.join(place, name), _LIMIT)
            pixels = decode(data, ("PNG",))
            if pixels.shape[:2] != (self._size, self._size):
                raise BadImageError(f"is {pixels.shape[0]}x{pixels.shape[1]}, not {self._size}x{self._size}")
        except BadImageError as error:
            raise DataError(f"{printable(place)}: {printable(name)} {error}") from error
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise DataError(f"{printable(place)}: {printable(name)} cannot be read ({error})") from error
        return Picture(pixels.astype("float32"))

    def _list(self, split: str) -> list[Any]:
        place = self._places[split]
        names = _zip(place).namelist() if place.endswith(".zip") else find_images(place)
        found = [(split, name) for name in sorted(names) if name.lower().endswith(".png")]
        if not found:
            raise DataError(f"{printable(place)} holds no PNG images.")
        return found


@functools.cache  # opened once in each process
def _zip(path: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{printable(path)} cannot be opened: {error}.") from error


def _place(root: str, name: str) -> str:
    for place in (os.path.join(root, name), os.path.join(root, f"{name}.zip")):
        if os.path.exists(place):
            return place
    raise DataError(f"{printable(root)} holds neither {name} nor {name}.zip.")
