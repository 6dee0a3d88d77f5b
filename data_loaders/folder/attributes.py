"""A CSV of binary attributes: a header "filename, name, ...", a row of -1/1 (or 0/1) per image."""

from __future__ import annotations

import collections
import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_loaders.bounded import read_bounded
from data_loaders.errors import DataError
from data_loaders.text import listing, printable

FILE_NAME = "attributes.csv"
_FILE_LIMIT = 2**28
_MOST_ATTRIBUTES = 10000


@dataclass(frozen=True)
class Attributes:
    """A parsed file.

    Attributes:
      path: of the file.
      names: of the attributes.
      rows: file name -> number of its row in `values`.
      values: int8 [rows, names] of -1 and 1.
    """

    path: str
    names: tuple[str, ...]
    rows: dict[str, int]
    values: np.ndarray

    def find(self, root: str, images: Sequence[str]) -> list[int | None]:
        """The row of every image, None where there is none.

        An image goes by its path from `root`, by its path from the CSV's folder, or by its last
        name where no other image has the same.
        """
        prefix = os.path.relpath(os.path.abspath(root), os.path.dirname(os.path.abspath(self.path)))
        prefix = "" if prefix == os.curdir else prefix.replace(os.sep, "/") + "/"
        last_names = collections.Counter(name.rsplit("/", 1)[-1] for name in images)
        rows: list[int | None] = []
        for name in images:
            last = name.rsplit("/", 1)[-1]
            candidates = [name, prefix + name] + ([last] if last_names[last] == 1 else [])
            rows.append(next((self.rows[c] for c in candidates if c in self.rows), None))
        return rows


def find_attributes(root: str, path: str, images: Sequence[str]) -> Attributes | None:
    """The attributes of a folder of images.

    From `path` if given; else from attributes.csv in the folder; else from attributes.csv beside
    the folder, if it has a row for every image (it might belong to another folder).

    Raises:
      DataError: the file is missing or malformed.
    """
    if path:
        return read_attributes(path)
    inside = os.path.join(root, FILE_NAME)
    if os.path.exists(inside):
        return read_attributes(inside)
    beside = os.path.join(os.path.dirname(os.path.abspath(root)), FILE_NAME)
    if os.path.exists(beside):
        attributes = read_attributes(beside)
        if None not in attributes.find(root, images):
            return attributes
    return None


def read_attributes(path: str) -> Attributes:
    """Parses the file.

    Raises:
      DataError: unreadable, no header, a row of another length, a value that is not -1 or 1 (or 0
        or 1), or a file named twice; with the line.
    """
    shown = printable(path)
    try:
        text = read_bounded(path, _FILE_LIMIT).decode("utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(lines, [])
        names = tuple(name.strip() for name in header[1:])
        if not names or len(names) > _MOST_ATTRIBUTES or len(set(names)) != len(names) or "" in names:
            raise DataError(f"{shown}: the first line must be 'filename' and the different names of the attributes.")
        rows: dict[str, int] = {}
        values = bytearray()
        for row in lines:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(f"{shown}, line {lines.line_num}: {len(row)} fields; the header has {len(header)}.")
            for value in row[1:]:
                if value.strip() not in ("-1", "0", "1"):
                    raise DataError(f"{shown}, line {lines.line_num}: value {value[:40]!r}; expected -1 or 1.")
                values.append(int(value) + 1)
            name = row[0].strip().replace("\\", "/").removeprefix("./")
            if name in rows:
                raise DataError(f"{shown}, line {lines.line_num}: a second row for {printable(name)}.")
            rows[name] = len(rows)
    except UnicodeDecodeError as error:
        raise DataError(f"{shown} is not UTF-8 text.") from error
    except csv.Error as error:
        raise DataError(f"{shown} is not a valid CSV file: {error}.") from error
    table = np.frombuffer(bytes(values), np.int8).reshape(-1, len(names)) - np.int8(1)
    if (table == 0).any():
        if (table == -1).any():
            raise DataError(f"{shown} mixes -1 and 0; attributes are -1/1 or 0/1.")
        table = np.where(table == 0, np.int8(-1), np.int8(1))
    return Attributes(path, names, rows, table)


def rows_of(attributes: Attributes, root: str, images: Sequence[str]) -> np.ndarray:
    """int8 [len(images), len(names)].

    Raises:
      DataError: images without a row, by name.
    """
    rows = attributes.find(root, images)
    missing = [printable(name) for name, row in zip(images, rows, strict=True) if row is None]
    if missing:
        raise DataError(
            f"{printable(attributes.path)} has no row for {len(missing)} of {len(images)} images:\n{listing(missing)}"
        )
    return attributes.values[np.asarray(rows, np.int64)]
