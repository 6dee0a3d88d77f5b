"""Where every record of a split lies: found once, checked, and kept beside the shards."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from data_loaders.atomic import atomic_write
from data_loaders.errors import DataError
from data_loaders.npz import Array, read_npz
from data_loaders.text import listing, printable
from data_loaders.tfrecords.framing import find_records

_MOST_SHARDS, _MOST_RECORDS = 100_000, 2**28
_INDEX_LIMIT = 2**31
_READERS = 16
_FORMAT = {
    "sizes": Array((), ("int64",), _MOST_SHARDS),
    "times": Array((), ("int64",), _MOST_SHARDS),
    "counts": Array((), ("int64",), _MOST_SHARDS),
    "offsets": Array((), ("int64",), _MOST_RECORDS),
}


@dataclass(frozen=True)
class RecordIndex:
    """The records of a list of files, numbered through.

    Attributes:
      paths: the files.
      offsets: int64 [n], where each record begins in its file.
      starts: int64 [files + 1]: file f has the records from starts[f] up to, not including, starts[f + 1].
      sizes: bytes of each file.
      problems: what was left out, a line for each place.
    """

    paths: tuple[str, ...]
    offsets: np.ndarray
    starts: np.ndarray
    sizes: tuple[int, ...]
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets)

    def place(self, number: int) -> tuple[str, int]:
        """File and offset of a record."""
        return self.paths[self.file_of(number)], int(self.offsets[number])

    def file_of(self, number: int) -> int:
        """Which file a record is in."""
        return int(np.searchsorted(self.starts, number, side="right")) - 1

    def without(self, bad: dict[int, str]) -> RecordIndex:
        """The index without some files (number -> what is wrong)."""
        counts = [0 if f in bad else int(n) for f, n in enumerate(np.diff(self.starts))]
        keep = np.repeat([f not in bad for f in range(len(self.paths))], np.diff(self.starts))
        problems = (*self.problems, *bad.values())
        return RecordIndex(self.paths, self.offsets[keep], _starts(counts), self.sizes, problems)


def index_records(paths: Sequence[str], *, skip_corrupt: bool = False, balanced: bool = True) -> RecordIndex:
    """Finds the records of a split's shards.

    Reads 12 bytes of each record, or a file beside the shards that holds what was found before, unless one of them
    has another size or date by now. Damage that shows in the framing is found here: files that end in the middle of
    a record, or are no TFRecord files.

    Args:
      paths: all shards of a split, of one folder.
      skip_corrupt: leave out what is damaged instead of raising.
      balanced: warn where the shards' sizes differ.

    Raises:
      DataError: a damaged file, with its name and the offset; or no records at all.
    """
    states = [os.stat(path) for path in paths]
    sizes, times = ([getattr(state, name) for state in states] for name in ("st_size", "st_mtime_ns"))
    cache = _cache_path(paths)
    found = _read_cache(cache, sizes, times)
    problems: list[str] = []
    if found is None:
        with ThreadPoolExecutor(_READERS, thread_name_prefix="index") as pool:
            scans = list(pool.map(find_records, paths))
        problems = [problem for _, problem in scans if problem]
        found = [len(offsets) for offsets, _ in scans], np.concatenate([offsets for offsets, _ in scans])
        if problems and not skip_corrupt:
            raise DataError(
                f"{len(problems)} of {len(paths)} shards are damaged:\n{listing(problems)}\n"
                "--skip_corrupt goes on without what is damaged."
            )
        if not problems:
            _write_cache(cache, sizes, times, *found)
    counts, offsets = found
    if not len(offsets):
        raise DataError(f"The shards in {printable(os.path.dirname(paths[0]))} hold no records.")
    if balanced and not problems and max(counts) > min(counts) + 1:  # every generator deals out its images evenly
        few, many = (counts.index(pick(counts)) for pick in (min, max))
        warnings.warn(
            f"{printable(paths[few])} has {counts[few]} records, {os.path.basename(paths[many])} has {counts[many]}: "
            "is it all there?",
            stacklevel=2,
        )
    return RecordIndex(tuple(paths), offsets, _starts(counts), tuple(sizes), tuple(problems))


def _starts(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _cache_path(paths: Sequence[str]) -> str:
    stem, _, total = os.path.basename(paths[0]).removesuffix(".tfrecords").partition("-s-")
    return os.path.join(os.path.dirname(paths[0]), f"{stem}{total[4:]}.index.npz")


def _read_cache(path: str, sizes: list[int], times: list[int]) -> tuple[list[int], np.ndarray] | None:
    if not os.path.exists(path):
        return None
    try:
        arrays = read_npz(path, _FORMAT, limit=_INDEX_LIMIT)
    except DataError:  # of no use: found anew, and overwritten
        return None
    counts = arrays["counts"].tolist()
    same = arrays["sizes"].tolist() == sizes and arrays["times"].tolist() == times
    return (counts, arrays["offsets"]) if same and sum(counts) == len(arrays["offsets"]) else None


def _write_cache(path: str, sizes: list[int], times: list[int], counts: list[int], offsets: np.ndarray) -> None:
    """Whole or not at all; where the folder cannot be written to, every process looks for itself."""
    with contextlib.suppress(OSError), atomic_write(path) as temporary:
        np.savez(temporary, sizes=sizes, times=times, counts=counts, offsets=offsets)
