"""Ways to corrupt a file: bit flips, cuts, splices, lies in numbers, random bytes, and the same inside an archive."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Sequence

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1)
_LARGEST_ARCHIVE = 2**22  # bytes; a bomb is corrupted as it is
_LARGEST = 2**16  # bytes that one mutation adds at most


def mutate(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds, corrupted once to three times; archives half of the time inside, with right checksums."""
    data = bytearray(chance.choice(seeds))
    if data[:2] == b"PK" and chance.random() < 0.5:
        inside = _inside_archive(chance, bytes(data))
        if inside is not None:
            return inside
    for _ in range(chance.randint(1, 3)):
        chance.choice(_WAYS)(chance, data, seeds)
    return bytes(data)


def _inside_archive(chance: random.Random, data: bytes) -> bytes | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_ARCHIVE:
                return None
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError):
        return None
    name = chance.choice(sorted(members))
    corrupted = bytearray(members[name])
    chance.choice(_WAYS)(chance, corrupted, list(members.values()))
    if chance.random() < 0.5:  # NumPy's header is where the lies matter
        _digits(chance, corrupted, [])
    members[name] = bytes(corrupted)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _flip(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    for _ in range(chance.choice((1, 1, 2, 8))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _cut(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _remove(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    del data[at : at + chance.randint(1, 64)]


def _insert(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.randbytes(chance.choice((1, 4, 64)))


def _repeat(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    part = data[at : at + chance.randint(1, 256)]
    data[at:at] = (part * chance.choice((1, 16, 256)))[:_LARGEST]


def _number(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    size, order = chance.choice((1, 2, 4, 8)), chance.choice(("little", "big"))
    at = chance.randrange(len(data) + 1)
    data[at : at + size] = (chance.choice(_NUMBERS) % 2 ** (8 * size)).to_bytes(size, order)


def _digits(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    """Another number, or another name of a type, in what is text."""
    places = [i for i, byte in enumerate(data[:4096]) if chr(byte).isdigit()]
    if places:
        at = chance.choice(places)
        data[at : at + 1] = chance.choice((b"0", b"9", b"-1", b"99999999999", b"1e400", b"true", b"1.5", b'"x"'))


def _splice(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    other = chance.choice(seeds) if seeds else b""
    at, begin = chance.randrange(len(data) + 1), chance.randrange(len(other) + 1)
    data[at:] = other[begin : begin + _LARGEST]


def _random(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    data[:] = chance.randbytes(chance.choice((0, 1, 16, 512)))


_WAYS = (_flip, _flip, _flip, _cut, _remove, _insert, _repeat, _number, _number, _digits, _splice, _random)
