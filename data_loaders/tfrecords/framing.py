"""The framing of TFRecord files: where each record begins, and whether its bytes are what was written.

A record is its length (8 bytes, little-endian), a masked CRC-32C of these, the bytes, and a masked CRC-32C of them.
TensorFlow reads records one after the other; this finds all of them without reading what is in them, and says what is
wrong with a damaged one.
"""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from data_loaders.errors import DataError
from data_loaders.text import printable

HEADER, FOOTER = 12, 4  # bytes around a record
_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected
_MASK_DELTA = 0xA282EAD8


def _make_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


_TABLE = _make_table()


def masked_crcs(rows: np.ndarray) -> np.ndarray:
    """The checksum of TFRecord files, of every row of uint8 [n, k]: uint32 [n]. Fast for many short rows."""
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in rows.T:
        crc = _TABLE[(crc ^ column) & 0xFF] ^ (crc >> 8)
    crc ^= np.uint32(0xFFFFFFFF)
    return ((crc >> 15) | (crc << 17)) + np.uint32(_MASK_DELTA)


def _are_whole(headers: np.ndarray) -> np.ndarray:
    """Whether each header, uint8 [n, HEADER], has the checksum of its length: bool [n]."""
    return masked_crcs(headers[:, :8]) == headers[:, 8:].copy().view("<u4")[:, 0]


def find_records(path: str) -> tuple[np.ndarray, str]:
    """Where the records of a file begin. Reads 12 bytes of each.

    Returns:
      int64 [n], the offsets of the whole ones up to the first damaged one; and what is wrong, "" if nothing is.

    Raises:
      DataError: the file cannot be read.
    """
    offsets, headers, offset = [], [], 0
    try:
        with open(path, "rb", buffering=0) as file:
            descriptor, size = file.fileno(), os.fstat(file.fileno()).st_size
            while offset < size:
                header = os.pread(descriptor, HEADER, offset)
                offsets.append(offset)
                headers.append(header)
                if len(header) < HEADER:
                    break
                offset += HEADER + int.from_bytes(header[:8], "little") + FOOTER
    except OSError as error:
        raise DataError(f"Cannot read {printable(path)}: {error.strerror or error}.") from error
    whole = np.frombuffer(b"".join(h for h in headers if len(h) == HEADER), np.uint8).reshape(-1, HEADER)
    damaged = np.flatnonzero(~_are_whole(whole))
    starts = np.asarray(offsets, np.int64)
    if damaged.size:
        first = int(damaged[0])
        where = f"{printable(path)}, record at byte {offsets[first]}"
        what = "it is no TFRecord file" if first == 0 else "its length is damaged"
        return starts[:first], f"{where}: {what} (wrong checksum)"
    if offset != size:
        return starts[:-1], f"{printable(path)}, record at byte {offsets[-1]}: the file ends in the middle of it"
    return starts, ""


def read_record(path: str, offset: int, *, check: bool = True) -> bytes:
    """The record that begins there; with `check` False its own checksum is not looked at.

    Raises:
      DataError: it is not as it was written; the message is the reason, without file and offset.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            header = file.read(HEADER)
            if len(header) < HEADER or not _are_whole(np.frombuffer(header, np.uint8)[np.newaxis])[0]:
                raise DataError("its length is damaged (wrong checksum)")
            length = int.from_bytes(header[:8], "little")
            if length > os.fstat(file.fileno()).st_size - offset:
                raise DataError("the file ends in the middle of it")
            data, footer = file.read(length), file.read(FOOTER)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})") from error
    if len(footer) < FOOTER:
        raise DataError("the file ends in the middle of it")
    try:
        return open_at(path, offset, 0).take(1).get_single_element().numpy() if check else data
    except tf.errors.OpError as error:
        raise DataError("its bytes are not those that were written (wrong checksum)") from error


def open_at(path: str | tf.Tensor, offset: int | tf.Tensor, buffer_size: int) -> tf.data.Dataset:
    """The records of a file from a byte on, their checksums compared; tf.data.TFRecordDataset has no offsets."""
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path], compression_type="", buffer_size=buffer_size, byte_offsets=[offset], metadata=""
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
