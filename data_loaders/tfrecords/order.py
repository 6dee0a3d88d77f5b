"""Which record comes when: a shuffle that reads files in long pieces, and can begin anywhere.

A rank's records are cut into blocks that lie together in a file. In every epoch the blocks are shuffled, and as many of
them as fit into memory make a window, whose records are shuffled among each other. Where all of a rank's records fit
into one window this is a shuffle of all of them. Both orders are pure functions of (seed, epoch, window), so a run that
is resumed reads one window, and not what came before.
"""

from __future__ import annotations

import numpy as np

from data_loaders.sampling import permutation
from data_loaders.tfrecords.index import RecordIndex

BLOCK_BYTES = 2**20
WINDOW_BYTES = 2**26

# Separate streams of random numbers under one seed.
_BLOCK_STREAM = 0x5851F42D
_RECORD_STREAM = 0x14057B7E


def stretches(index: RecordIndex, low: int, high: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the records from `low` up to, not including, `high` where files begin, and into at most `most` each.

    Returns:
      The first record and the count of each: int64 [m] and int64 [m].
    """
    firsts = []
    for f in range(index.file_of(low), len(index.paths)) if low < high else ():
        begin, end = max(low, int(index.starts[f])), min(high, int(index.starts[f + 1]))
        firsts.append(np.arange(begin, end, most, dtype=np.int64))
        if end == high:
            break
    first = np.concatenate(firsts) if firsts else np.zeros(0, np.int64)
    ends = np.append(first[1:], high) if len(first) else first
    return first, ends - first


class WindowedShuffle:
    """The endless order of a rank's records.

    Args:
      index: all records.
      low: the first record of this rank.
      high: one after its last.
      seed: 0 <= seed < 2**63.
      record_bytes: about how large a record is.
    """

    def __init__(self, index: RecordIndex, low: int, high: int, seed: int, record_bytes: int) -> None:
        self._seed, self.count = seed, high - low
        self._first, self._counts = stretches(index, low, high, max(1, BLOCK_BYTES // record_bytes))
        blocks_bytes = record_bytes * self.count // len(self._first)
        self._per_window = max(1, WINDOW_BYTES // blocks_bytes)
        self.windows = -(-len(self._first) // self._per_window)  # in an epoch

    def find(self, position: int) -> tuple[int, int]:
        """The window that a position of this rank's endless order is in, and how far into it."""
        epoch, place = divmod(position, self.count)
        sizes = self._counts[self._blocks(epoch)]
        ends = np.cumsum(np.add.reduceat(sizes, np.arange(0, len(sizes), self._per_window)))
        window = int(np.searchsorted(ends, place, side="right"))
        return epoch * self.windows + window, place - (int(ends[window - 1]) if window else 0)

    def pieces(self, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What to read for a window, one after the other, and how to arrange it then.

        Returns:
          The first record of each piece, int64 [m]; how many it has, int64 [m]; the order of all, int64 [sum of these].
        """
        epoch, place = divmod(window, self.windows)
        # In a window blocks are read in the order of the files; what comes of it is shuffled anyway.
        blocks = np.sort(self._blocks(epoch)[place * self._per_window :][: self._per_window])
        count = self._counts[blocks]
        return self._first[blocks], count, permutation(int(count.sum()), self._seed ^ _RECORD_STREAM, window)

    def _blocks(self, epoch: int) -> np.ndarray:
        return permutation(len(self._first), self._seed ^ _BLOCK_STREAM, epoch)
