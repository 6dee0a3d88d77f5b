"""Which image files there are, which split each belongs to, and what its sub-folder says."""

from __future__ import annotations

import array
import collections
import hashlib
import itertools
import os
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from data_loaders.errors import DataError
from data_loaders.folder.images import EXTENSIONS
from data_loaders.progress import Progress
from data_loaders.text import printable

TEST_FOLDERS = ("test", "validation", "valid", "val")
_BLOCK = 4096  # files listed between two reports of progress
_OTHER_IMAGES = (".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif", ".jp2", ".ppm", ".pgm")


def find_images(root: str) -> list[str]:
    """The PNG and JPEG files under a folder, as sorted relative paths with "/" between the parts.

    Names that begin with "." are left out (what file managers leave behind), links to folders are
    followed once.

    Raises:
      DataError: no such folder, or no images in it.
    """
    return sorted(name for name, _ in _walk(root))


def find_states(root: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The same with what tells whether a file is still the same.

    Returns:
      The names; int64 [n], bytes of each file, -1 of a link that leads nowhere; int64 [n], when each was modified, in
      nanoseconds.
    """
    names, states = list[str](), array.array("q")
    with Progress("listing", None, "file") as progress:
        for name, entry in _walk(root):
            names.append(name)
            states.extend(_state(entry))
            if len(names) % _BLOCK == 0:
                progress.update(_BLOCK)
    order = sorted(range(len(names)), key=names.__getitem__)
    sizes, times = np.frombuffer(states, np.int64).reshape(-1, 2)[order].T.copy()
    return [names[number] for number in order], sizes, times


def _state(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        info = entry.stat()
    except OSError:
        return -1, -1
    return info.st_size, info.st_mtime_ns


def _walk(root: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    if not os.path.isdir(root):
        raise DataError(f"There is no folder {printable(root)}.")
    any_found = False
    others: collections.Counter[str] = collections.Counter()
    seen: set[tuple[int, int]] = set()
    pending = [""]
    while pending:
        relative = pending.pop()
        folders = []
        try:
            info = os.stat(os.path.join(root, relative))
            if (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            with os.scandir(os.path.join(root, relative)) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    name, ending = f"{relative}/{entry.name}" if relative else entry.name, entry.name[-5:].lower()
                    if entry.is_dir():
                        folders.append(name)
                    elif ending.endswith(EXTENSIONS) and (entry.is_file() or entry.is_symlink()):
                        any_found = True
                        yield name, entry  # a dangling link too: it is then reported by name
                    elif ending.endswith(_OTHER_IMAGES):
                        others[ending[ending.rindex(".") :]] += 1
        except OSError as error:
            raise DataError(f"Cannot list {printable(os.path.join(root, relative))}: {error.strerror}.") from error
        pending += sorted(folders, reverse=True)
    there = ", ".join(f"{count} {extension}" for extension, count in sorted(others.items()))
    if not any_found:
        raise DataError(
            f"There are no images ({', '.join(EXTENSIONS)}) in {printable(root)}"
            + (f"; but {there}, which are not read. Convert them to PNG." if there else ".")
        )
    if there:
        warnings.warn(f"{printable(root)} also has {there}, which are not read.", stacklevel=3)


def split_files(names: Sequence[str], test_fraction: float) -> tuple[list[str], list[str], str]:
    """Divides files into training and test ones, the same way for ever.

    By the folders train/ and test/ (or validation/, valid/, val/) where there are both. Otherwise
    by a hash of each relative name, so that adding or removing files moves no other; if that leaves
    a part empty, the file with the nearest hash goes there. A single file is in both.

    Args:
      names: relative names.
      test_fraction: the share of test files, about.

    Returns:
      Training names, test names, and how they were told apart ("folders" or "hash").
    """
    top = {name.split("/", 1)[0] for name in names if "/" in name}
    test_folder = next((folder for folder in TEST_FOLDERS if folder in top), None)
    if "train" in top and test_folder is not None:
        train = [name for name in names if name.startswith("train/")]
        test = [name for name in names if name.startswith(f"{test_folder}/")]
        left_out = len(names) - len(train) - len(test)
        if left_out:
            warnings.warn(
                f"There are folders train/ and {test_folder}/, so {left_out} images outside them are left out.",
                stacklevel=2,
            )
        return train, test, "folders"
    if len(names) == 1:
        warnings.warn("There is one image only; it is used for training and for testing.", stacklevel=2)
        return list(names), list(names), "hash"
    places = _places(names)
    limit = test_fraction
    if places.min() >= limit:
        limit = np.partition(places, 1)[1]
    elif places.max() < limit:
        limit = places.max()
    test = (places < limit).tolist()
    return [n for n, t in zip(names, test, strict=True) if not t], list(itertools.compress(names, test)), "hash"


def _places(names: Sequence[str]) -> np.ndarray:
    """A number in [0, 1) that belongs to each name, float64 [n]."""
    sha256, encode = hashlib.sha256, os.fsencode
    digests = b"".join([sha256(encode(name)).digest()[:8] for name in names])
    return np.frombuffer(digests, ">u8") / 2**64


def folder_classes(names: Sequence[str], told_by: str) -> tuple[tuple[str, ...], np.ndarray] | None:
    """The class of every file: its first folder below those that all files share, and that tell the splits apart.

    Args:
      names: relative names.
      told_by: how training and test files were told apart, as `split_files` says.

    Returns:
      The names of the classes and int32 [len(names)]; None if there are fewer than two folders, or a file lies beside
      them.
    """
    folders = [name.rpartition("/")[0] for name in names]
    if told_by == "folders":
        folders = [folder.partition("/")[2] for folder in folders]
    parts = {folder: folder.split("/") if folder else [] for folder in set(folders)}
    depth = 0
    while all(len(p) > depth for p in parts.values()) and len({p[depth] for p in parts.values()}) == 1:
        depth += 1
    if any(len(p) <= depth for p in parts.values()):
        return None
    found = [parts[folder][depth] for folder in folders]
    class_names = tuple(sorted(set(found)))
    number_of = {name: number for number, name in enumerate(class_names)}
    return class_names, np.asarray([number_of[name] for name in found], np.int32)
