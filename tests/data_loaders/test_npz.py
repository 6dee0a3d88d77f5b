from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest

from data_loaders import DataError
from data_loaders.npz import Array, read_npz

FORMAT = {"x": Array((4, 4), ("uint8",), 1000)}


def archive(path, header, body=b""):
    """An .npz whose array has any header and body."""
    text = repr(header).encode() if isinstance(header, dict) else header
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", data)
    return str(path)


def header(shape, dtype="|u1"):
    return {"descr": dtype, "fortran_order": False, "shape": shape}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(tmp_path, rng, order, save):
    x = np.asarray(rng.integers(0, 256, (7, 4, 4), np.uint8), order=order)
    save(tmp_path / "a.npz", x=x, other=np.zeros(3))
    np.testing.assert_array_equal(read_npz(str(tmp_path / "a.npz"), FORMAT)["x"], x)


@pytest.mark.parametrize(
    ("content", "body", "message"),
    [
        (header((10**12, 4, 4)), b"", "shape"),
        (header((1001, 4, 4)), b"", "1 <= n <= 1000"),
        (header((0, 4, 4)), b"", "1 <= n"),
        (header((-1, 4, 4)), b"", "1 <= n"),
        (header((100, 4, 4)), b"abc", "truncated: 3 of 1600"),
        (header((1, 4, 4), "|O"), b"\x80\x04.", "is object"),
        (header((1, 4, 4), "<f8"), b"", "is float64"),
        (b"__import__('os').system('true')", b"", "no valid header"),
        (b"(" * 5000, b"", "no valid header"),
        (b"", b"", "no valid header"),
    ],
)
def test_hostile_headers(tmp_path, content, body, message):
    with pytest.raises(DataError, match=message):
        read_npz(archive(tmp_path / "a.npz", content, body), FORMAT)


def test_a_bomb_is_read_no_further_than_allowed(tmp_path):
    path = archive(tmp_path / "a.npz", header((2, 4, 4)), bytes(50_000_000))
    assert os.path.getsize(path) < 100_000
    assert read_npz(path, FORMAT)["x"].shape == (2, 4, 4)


def test_other_files(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        read_npz(str(tmp_path / "text.npz"), FORMAT)
    with pytest.raises(DataError, match=r"Cannot read .*nothing"):
        read_npz(str(tmp_path / "nothing.npz"), FORMAT)
    with pytest.raises(DataError, match=r"not a regular file|Cannot read"):
        read_npz(str(tmp_path), FORMAT)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(DataError, match="not a regular file"):
        read_npz(str(tmp_path / "pipe.npz"), FORMAT)


def test_fuzz(tmp_path, rng):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=rng.integers(0, 9, (20, 4, 4), np.uint8))
    original = buffer.getvalue()
    path = tmp_path / "a.npz"
    refused = 0
    for _ in range(300):
        data = bytearray(original)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(bytes(data[: rng.integers(1, 2 * len(data))]))
        try:
            assert read_npz(str(path), FORMAT)["x"].shape[1:] == (4, 4)
        except DataError:
            refused += 1
    assert refused > 200
