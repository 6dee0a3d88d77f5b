"""What was learned of a folder's files: an index beside them, so that the next start need not learn it again.

It is an SQLite file `.glow_tf_index.sqlite` in the folder, or in the cache where the folder cannot be written to. An
entry counts only for a file of the same name, size and modification time; files that could not be used are looked at
again; and what the index says of a size is compared with the image when it is decoded. While one process learns, others
wait for it. An index that is damaged, or cannot be had, costs time and nothing else.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import sqlite3
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from data_loaders.cache import cache_folder
from data_loaders.folder.images import Header

FILE_NAME = ".glow_tf_index.sqlite"
WORTH_IT = 1000  # files; fewer are looked at every time
_VERSION = 1
_WAIT_S = 3600.0  # for another process that is learning
_BRIEFLY_S = 5.0  # where nothing is lost by going on without
_TABLE = """
    create table files (name blob primary key, size integer, time integer,
                        height integer, width integer, gray integer, decodes integer) without rowid
"""


class FolderIndex:
    """What is known of every file.

    Args:
      root: the folder.
      names: of the files, from there, sorted.
      sizes: int64 [n], bytes of each file.
      times: int64 [n], when each was modified, in nanoseconds.

    Attributes:
      root, names, sizes, times: as given.
      heights: int32 [n], of the image when it is upright; 0 where it is not known.
      widths: int32 [n], likewise.
      gray: bool [n], likewise.
      decodes: int8 [n], 1 where the image was decoded once, -1 where that failed, 0 where it was not tried.
    """

    def __init__(self, root: str, names: Sequence[str], sizes: np.ndarray, times: np.ndarray) -> None:
        self.root, self.names, self.sizes, self.times = root, names, sizes, times
        self.heights, self.widths = np.zeros((2, len(names)), np.int32)
        self.gray, self.decodes = np.zeros(len(names), np.bool_), np.zeros(len(names), np.int8)

    def learn_header(self, row: int, header: Header) -> None:
        """Adds what a file's header says."""
        self.heights[row], self.widths[row], self.gray[row] = header.height, header.width, header.gray

    @contextlib.contextmanager
    def learning(self) -> Iterator[None]:
        """Reads the index; what is learned within is written at the end. One process at a time."""
        if len(self.names) < WORTH_IT:
            yield
            return
        with contextlib.ExitStack() as held:
            database = None
            with contextlib.suppress(sqlite3.Error, OSError):
                database = held.enter_context(contextlib.closing(self._open()))
            if database is not None:
                self._read(database)
            before = self._learned()
            try:
                yield
            finally:
                with contextlib.suppress(sqlite3.Error):
                    if database is not None:
                        if self._learned() != before:
                            self._write(database)
                        database.commit()

    def note_failure(self, row: int) -> None:
        """Writes at once that a file could not be decoded."""
        self.decodes[row] = -1
        if len(self.names) < WORTH_IT:
            return
        with contextlib.suppress(sqlite3.Error, OSError), contextlib.closing(self._open(_BRIEFLY_S)) as database:
            self._write(database, [row])
            database.commit()

    def _open(self, wait: float = _WAIT_S) -> sqlite3.Connection:
        """The index, made if need be, locked."""
        folder = self.root if os.access(self.root, os.W_OK) else cache_folder("folders", self.root)
        path = os.path.join(folder, FILE_NAME)
        try:
            return _begin(path, wait)
        except sqlite3.OperationalError:  # such as a lock or a disk that fails: not the file's fault
            raise
        except sqlite3.DatabaseError:  # no database
            os.unlink(path)
            return _begin(path, wait)

    def _learned(self) -> bytes:
        return b"".join(a.tobytes() for a in (self.heights, self.widths, self.gray, self.decodes))

    def _read(self, database: sqlite3.Connection) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # all that NumPy 1 has for numbers that are out of range
            try:
                for encoded, size, time, *values in database.execute("select * from files"):
                    name = os.fsdecode(encoded)
                    row = bisect.bisect_left(self.names, name)  # a table of a million names would take a second
                    there = row < len(self.names) and self.names[row] == name
                    if there and (size, time) == (self.sizes[row], self.times[row]):
                        self.heights[row], self.widths[row], self.gray[row], self.decodes[row] = values
            except (sqlite3.Error, ValueError, TypeError, OverflowError, DeprecationWarning):  # damaged: nothing counts
                for column in (self.heights, self.widths, self.gray, self.decodes):
                    column[:] = 0

    def _write(self, database: sqlite3.Connection, rows: Sequence[int] | None = None) -> None:
        columns = (self.sizes, self.times, self.heights, self.widths, self.gray, self.decodes)
        if rows is None:  # all of which something is known
            database.execute("delete from files")
            rows = np.flatnonzero((self.heights > 0) | (self.decodes != 0)).tolist()
        for row in rows:
            values = (os.fsencode(self.names[row]), *(int(column[row]) for column in columns))
            database.execute("insert or replace into files values (?, ?, ?, ?, ?, ?, ?)", values)


def _begin(path: str, wait: float) -> sqlite3.Connection:
    """Opens the file for one process alone, until it is closed."""
    database = sqlite3.connect(path, timeout=wait, isolation_level=None)
    try:
        database.execute("begin immediate")
        if database.execute("pragma user_version").fetchone()[0] != _VERSION:
            database.execute("drop table if exists files")
            database.execute(_TABLE)
            database.execute(f"pragma user_version = {_VERSION}")
    except BaseException:
        database.close()
        raise
    return database
