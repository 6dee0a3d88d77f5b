"""A CSV of binary attributes: a header "filename, name, ...", a row of -1/1 (or 0/1) per image."""

from __future__ import annotations

import collections
import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data_loaders.bounded import read_bounded
from data_loaders.errors import DataError
from data_loaders.text import listing, printable

FILE_NAME = "attributes.csv"
_FILE_LIMIT = 2**28
_MOST_ATTRIBUTES = 10000
_VALUES = {"-1": 0, "0": 1, "1": 2}  # as bytes


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
    """Parses the file: a CSV, or where its name ends in .txt, one in the form of CelebA's list_attr_celeba.txt.

    Raises:
      DataError: unreadable, no header, a row of another length, a value that is not -1 or 1 (or 0
        or 1), a file named twice, or another number of rows than the .txt says; with the line.
    """
    shown = printable(path)
    lines = _read_celeba(path) if path.endswith(".txt") else _read_csv(path)
    _, header = next(lines, (1, [""]))
    names = tuple(name.strip() for name in header[1:])
    if not names or len(names) > _MOST_ATTRIBUTES or len(set(names)) != len(names) or "" in names:
        raise DataError(f"{shown}: the first line must be 'filename' and the different names of the attributes.")
    rows: dict[str, int] = {}
    values = bytearray()
    for number, row in lines:
        if len(row) != len(header):
            raise DataError(f"{shown}, line {number}: {len(row)} fields; the header has {len(header)}.")
        try:
            values += bytes([_VALUES[value.strip()] for value in row[1:]])
        except KeyError as error:
            raise DataError(f"{shown}, line {number}: value {error.args[0][:40]!r}; expected -1 or 1.") from error
        name = row[0].strip().replace("\\", "/").removeprefix("./")
        if name in rows:
            raise DataError(f"{shown}, line {number}: a second row for {printable(name)}.")
        rows[name] = len(rows)
    table = np.frombuffer(bytes(values), np.int8).reshape(-1, len(names)) - np.int8(1)
    if (table == 0).any():
        if (table == -1).any():
            raise DataError(f"{shown} mixes -1 and 0; attributes are -1/1 or 0/1.")
        table = np.where(table == 0, np.int8(-1), np.int8(1))
    return Attributes(path, names, rows, table)


def _read_csv(path: str) -> Iterator[tuple[int, list[str]]]:
    """The number and fields of every line that is not empty."""
    lines = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for row in lines:
            if row or lines.line_num == 1:
                yield lines.line_num, row
    except csv.Error as error:
        raise DataError(f"{printable(path)} is not a valid CSV file: {error}.") from error


def _read_celeba(path: str) -> Iterator[tuple[int, list[str]]]:
    """The same of list_attr_celeba.txt: how many images there are, the names of the attributes, a line per image."""
    first, *lines = read_text(path).splitlines() or [""]
    rows = [(number, line.split()) for number, line in enumerate(lines, 2) if line.strip()]
    if not first.strip().isdecimal():
        raise DataError(f"{printable(path)}: the first line must be the number of images; it is {first[:40]!r}.")
    if len(rows) - 1 != int(first):
        raise DataError(f"{printable(path)}: the first line says {int(first)} images; {len(rows) - 1} follow.")
    yield rows[0][0], ["filename", *rows[0][1]]
    yield from rows[1:]


def read_text(path: str) -> str:
    """A list's text.

    Raises:
      DataError: it cannot be read, or is not UTF-8.
    """
    try:
        return read_bounded(path, _FILE_LIMIT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(path)} is not UTF-8 text.") from error


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
