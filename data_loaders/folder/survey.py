"""Looks at a folder's files before training: the size and channels that images will have, and which cannot be used.

Up to 10000 files are all decoded, so that all that cannot be used are reported together. Of more, as little is read as
tells the size and channels: where image_size is given, headers up to the first of an image in colour. Images are then
decoded when they are first needed, and one that cannot be used is found then.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import PIL

from data_loaders.errors import DataError
from data_loaders.folder.headers import find_header
from data_loaders.folder.images import BadImageError, Header, centre_box, crop_centre, read_upright
from data_loaders.folder.index import WORTH_IT, FolderIndex
from data_loaders.lazy import LazyImages
from data_loaders.progress import Progress
from data_loaders.store import PixelStore
from data_loaders.text import listing, printable

CHECKS = ("auto", "decode", "headers", "later")
_ALL_DECODED = 10_000  # files, at most
_BLOCK = 1024  # headers read between two reports of progress


@dataclass(frozen=True)
class ReadOptions:
    """How images are to be read.

    Attributes:
      size: (H, W), or None for the one that all have.
      crop: side of the square cut out of their centre first; 0: none is.
      check: one of CHECKS: what is looked at before training, all pixels, all headers, or what is needed only.
      memory: the most bytes of decoded images to keep.
      workers: files read at once.
      skip: whether to go on without unusable files.
    """

    size: tuple[int, int] | None
    crop: int
    check: str
    memory: int
    workers: int
    skip: bool


def survey_files(index: FolderIndex, how: ReadOptions) -> tuple[LazyImages, list[int]]:
    """All files of a folder, and the numbers of those that are in the data set.

    Unusable files that are found here are left out, unless images are decoded later: then, as for those that are found
    later, others take their places, so that the order of training does not depend on what is known.

    Raises:
      DataError: images of several sizes and none given, or unusable files that are not to be skipped, by name.
    """
    names, bad = index.names, dict[int, BadImageError]()
    later = how.check == "later" or (how.check == "auto" and len(names) > _ALL_DECODED)
    with index.learning():
        size = how.size or ((how.crop, how.crop) if how.crop else None)
        _read_headers(index, bad, how.workers, colour_is_enough=later and size is not None)
        known = np.flatnonzero(index.heights)
        if not known.size:
            _report(index, bad, skip=False)
        native = size is None
        size = size or _common_size(index, len(bad))
        bad.update(_too_small(index, size, how.crop))
        files = _open(index, (*size, 1 if index.gray[known].all() else 3), how, native=native)
        files.bad.update(bad)
        unsure = index.decodes == -1 if later or how.check == "headers" else index.decodes != 1
        tried = [file for file in np.flatnonzero(unsure).tolist() if file not in bad]
        files.check(tried)
        for file in tried:
            index.decodes[file] = -1 if file in files.bad else 1
    _report(index, files.bad, skip=how.skip)
    files.on_failure = index.note_failure
    if later:
        return files, list(range(len(names)))
    good = [file for file in range(len(names)) if file not in files.bad]
    files.bad.clear()
    return files, good


def _read_headers(
    index: FolderIndex, bad: dict[int, BadImageError], workers: int, *, colour_is_enough: bool
) -> None:
    """Adds to the index the headers that are not in it, or until one is in colour; to `bad`, those that have none."""

    def read(files: list[int]) -> list[Header | BadImageError]:
        return [_header(os.path.join(index.root, index.names[file])) for file in files]

    unknown = np.flatnonzero(index.heights == 0).tolist()
    if colour_is_enough and ((index.heights > 0) & ~index.gray).any():
        return
    with Progress("reading headers", len(unknown)) as progress, ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(unknown), _BLOCK):
            block = unknown[first : first + _BLOCK]
            parts = [block[part::workers] for part in range(workers)]
            for part, headers in zip(parts, pool.map(read, parts), strict=True):
                for file, header in zip(part, headers, strict=True):
                    if isinstance(header, BadImageError):
                        bad[file] = header
                    else:
                        index.learn_header(file, header)
            progress.update(len(block))
            if colour_is_enough and not index.gray[index.heights > 0].all():
                return


def _header(path: str) -> Header | BadImageError:
    try:
        return find_header(path)
    except BadImageError as error:
        return error


def _common_size(index: FolderIndex, n_bad: int) -> tuple[int, int]:
    known = index.heights > 0
    sizes = sorted({*zip(index.heights[known].tolist(), index.widths[known].tolist(), strict=True)})
    if len(sizes) > 1:
        shown = ", ".join(f"{h}x{w}" for h, w in sizes[:5]) + (", ..." if len(sizes) > 5 else "")
        unread = f" ({n_bad} more files cannot be read.)" if n_bad else ""
        raise DataError(
            f"The images in {printable(index.root)} have {len(sizes)} sizes ({shown}): give image_size. "
            f"The smallest height is {min(h for h, _ in sizes)}, the smallest width "
            f"{min(w for _, w in sizes)}.{unread}"
        )
    return sizes[0]


def _too_small(index: FolderIndex, size: tuple[int, int], crop: int) -> dict[int, BadImageError]:
    least = np.maximum(size, crop)
    small = (index.heights > 0) & ((index.heights < least[0]) | (index.widths < least[1]))
    bad = {}
    for file in np.flatnonzero(small).tolist():
        try:
            centre_box((int(index.heights[file]), int(index.widths[file])), size, crop)
        except BadImageError as error:
            bad[file] = error
    return bad


def _open(index: FolderIndex, shape: tuple[int, int, int], how: ReadOptions, *, native: bool) -> LazyImages:
    """The files, not decoded yet; `native`: all must have this size."""
    names = index.names

    def decode(file: int) -> tuple[np.ndarray, int]:
        picture = read_upright(os.path.join(index.root, names[file]), shape[2])
        have = (picture.height, picture.width)
        if native and have != shape[:2]:
            raise BadImageError(f"is {have[0]}x{have[1]}, unlike the others ({shape[0]}x{shape[1]}): give image_size")
        return crop_centre(picture, shape[:2], how.crop), 0

    store = None
    if len(names) * math.prod(shape) <= how.memory:
        state = hashlib.sha256(f"{how.crop} {PIL.__version__} ".encode())
        state.update(os.fsencode("\0".join(names)) + index.sizes.tobytes() + index.times.tobytes())
        shared = len(names) >= WORTH_IT
        store = PixelStore(len(names), shape, index.root, state.hexdigest()[:24] if shared else "")
    return LazyImages(decode, names.__getitem__, shape, store, workers=how.workers, skip=how.skip)


def _report(index: FolderIndex, bad: Mapping[int, DataError], *, skip: bool) -> None:
    if not bad:
        return
    names = index.names
    lines = [f"{printable(names[file])} {error}" for file, error in sorted(bad.items())]
    alone = len(lines) == 1
    message = f"{len(bad)} of {len(names)} images in {printable(index.root)} cannot be used:"
    message += f" {lines[0]}." if alone else f"\n{listing(lines)}"
    if not skip or len(bad) == len(names):
        which, space = ("it", " ") if alone else ("them", "\n")
        raise DataError(
            f"{message}{space}Remove {which} or choose a smaller image_size (or --skip_corrupt leaves {which} out)."
        )
    warnings.warn(message, stacklevel=4)
