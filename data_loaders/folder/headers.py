"""Size and colours of an image file from its first bytes, ten times quicker than Pillow, which is asked in doubt."""

from __future__ import annotations

import os
import struct

from data_loaders.folder.images import MAX_PIXELS, Header, read_header

_FIRST_BYTES = 2**16
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_GRAY = {0: True, 2: False, 4: True, 6: False}  # colour type -> grayscale; palettes (3) are looked into by Pillow
_JPEG_GRAY = {1: True, 3: False, 4: False}  # components -> grayscale
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a JPEG's size
_APP1 = 0xE1  # where EXIF's orientation is


def find_header(path: str | os.PathLike[str]) -> Header:
    """As images.read_header, which it calls unless the first bytes are those of a plain PNG or JPEG file.

    Raises:
      BadImageError: as read_header.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(_FIRST_BYTES)
            found = _png(file.fileno(), data) if data.startswith(_PNG) else _jpeg(data)
    except (OSError, struct.error, IndexError, KeyError):
        found = None
    if found is None or not 0 < found.height * found.width <= MAX_PIXELS:
        return read_header(path)
    return found


def _png(file: int, data: bytes) -> Header | None:
    """None where there may be an orientation, which can be anywhere in the file, or a palette."""
    width, height, _, colours = struct.unpack_from(">IIBB", data, 16)
    place = len(_PNG)
    while True:
        inside = place + 8 <= len(data)
        length, kind = struct.unpack(">I4s", data[place : place + 8] if inside else os.pread(file, 8, place))
        if kind == b"IEND":
            return Header(height, width, _PNG_GRAY[colours])
        if kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            return None
        place += 12 + length


def _jpeg(data: bytes) -> Header | None:
    """None where there may be an orientation."""
    if data[:2] != b"\xff\xd8":
        return None
    place = 2
    while True:
        if data[place] != 0xFF or data[place + 1] in (_APP1, 0xFF):
            return None
        if data[place + 1] in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", data, place + 5)
            return Header(height, width, _JPEG_GRAY[components])
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
