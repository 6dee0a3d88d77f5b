"""Size and colours of an image file. To find an orientation Pillow decodes a PNG; its chunks tell in a twentieth."""

from __future__ import annotations

import os
import struct

from data_loaders.folder.images import MAX_PIXELS, Header, read_header

_FIRST_BYTES = 2**16
_PNG = b"\x89PNG\r\n\x1a\n"
_GRAY = {0: True, 2: False, 4: True, 6: False}  # colour type -> grayscale; palettes (3) are looked into by Pillow


def find_header(path: str | os.PathLike[str]) -> Header:
    """As images.read_header, which it calls for all but plain PNG files.

    Raises:
      BadImageError: as read_header.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(_FIRST_BYTES)
            found = _png(file.fileno(), data) if data.startswith(_PNG) else None
    except (OSError, struct.error, KeyError):
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
            return Header(height, width, _GRAY[colours])
        if kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            return None
        place += 12 + length
