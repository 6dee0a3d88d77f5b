from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data_loaders.folder.images import BadImageError, centre_box, read_header, read_image


@pytest.fixture
def picture(rng):
    """Six rows and four columns, every pixel another colour."""
    return rng.integers(0, 256, (6, 4, 3), np.uint8)


def save(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def test_pixels_are_kept(tmp_path, picture):
    path = save(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(read_image(path, (6, 4), 3), picture)
    header = read_header(path)
    assert (header.height, header.width, header.gray) == (6, 4, False)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, picture, orientation):
    # The stored pixels that a viewer shows as `picture`: the inverse of each of EXIF's eight maps.
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, 1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", np.ascontiguousarray(stored), exif=exif)
    header = read_header(path)
    assert (header.height, header.width) == (6, 4)
    np.testing.assert_array_equal(read_image(path, (6, 4), 3), picture)


def test_area_average_of_whole_blocks(tmp_path, rng):
    pixels = rng.integers(0, 256, (12, 8, 3), np.uint8)
    path = save(tmp_path / "a.png", pixels)
    got = read_image(path, (4, 4), 3)
    # The crop is the central 8 x 8.
    expected = pixels[2:10].reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(got - expected).max() <= 0.5


def test_area_average_of_parts_of_pixels(tmp_path, rng):
    pixels = rng.integers(0, 256, (10, 10, 3), np.uint8)
    got = read_image(save(tmp_path / "a.png", pixels), (4, 4), 3)
    fine = pixels.repeat(2, axis=0).repeat(2, axis=1)  # 20 x 20, so 5 to a pixel
    expected = fine.reshape(4, 5, 4, 5, 3).mean(axis=(1, 3))
    assert np.abs(got - expected).max() <= 0.501


@pytest.mark.parametrize("size", [(7, 5), (33, 40), (100, 3)])
def test_area_average_of_large_images(tmp_path, rng, size):
    pixels = rng.integers(0, 256, (301, 203, 3), np.uint8)
    pixels[:, :100] //= 4  # something to see
    got = read_image(save(tmp_path / "a.png", pixels), size, 3)
    left, top, right, bottom = centre_box((301, 203), size)
    cut = pixels[top:bottom, left:right].astype(float)
    sums = np.pad(cut.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))

    def at(axis, n):  # the integral up to each of the n + 1 edges, by linear interpolation
        edges = np.linspace(0, sums.shape[axis] - 1, n + 1)
        low = np.minimum(edges.astype(int), sums.shape[axis] - 2)
        return low, edges - low

    (r, fr), (c, fc) = at(0, size[0]), at(1, size[1])
    rows = sums[r] * (1 - fr)[:, None, None] + sums[r + 1] * fr[:, None, None]
    table = rows[:, c] * (1 - fc)[:, None] + rows[:, c + 1] * fc[:, None]
    expected = np.diff(np.diff(table, axis=0), axis=1) / (cut[..., 0].size / (size[0] * size[1]))
    # Exact up to rounding, and up to blocks that lie in two cells where cells are large.
    assert np.abs(got - expected).max() <= (0.51 if max(size) > 60 else 4)
    assert np.abs(got - expected).mean() <= 0.8


@pytest.mark.parametrize(
    ("have", "size", "box"),
    [
        ((100, 60), (10, 10), (0, 20, 60, 80)),
        ((60, 101), (10, 10), (20, 0, 80, 60)),
        ((218, 178), (64, 64), (0, 20, 178, 198)),
        ((100, 100), (50, 25), (25, 0, 75, 100)),
        ((8, 8), (8, 8), (0, 0, 8, 8)),
    ],
)
def test_centre_box(have, size, box):
    assert centre_box(have, size) == box


def test_too_small(tmp_path, picture):
    path = save(tmp_path / "a.png", picture)
    for size in ((7, 4), (6, 5)):
        with pytest.raises(BadImageError, match="is 6x4, smaller than"):
            read_image(path, size, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_grayscale_files(tmp_path, rng, mode):
    gray = rng.integers(0, 2, (5, 5), np.uint8) * 255
    path = save(tmp_path / "a.png", gray, mode)
    assert read_header(path).gray
    np.testing.assert_array_equal(read_image(path, (5, 5), 1)[..., 0], gray)
    np.testing.assert_array_equal(read_image(path, (5, 5), 3), np.repeat(gray[..., None], 3, 2))


def test_sixteen_bits_keep_the_upper_eight(tmp_path, rng):
    deep = rng.integers(0, 65536, (5, 5), np.uint16)
    path = save(tmp_path / "a.png", deep)
    assert read_header(path).gray
    np.testing.assert_array_equal(read_image(path, (5, 5), 1)[..., 0], deep >> 8)


def test_palette_in_colour(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2] = (200, 10, 30)
    pixels[2:] = (0, 90, 250)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).quantize(2).save(path)
    assert Image.open(path).mode == "P"
    assert not read_header(path).gray
    np.testing.assert_array_equal(read_image(path, (4, 4), 3), pixels)


def test_transparency_shows_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[0] = (10, 20, 30, 255)
    pixels[1] = (0, 0, 0, 128)
    got = read_image(save(tmp_path / "a.png", pixels), (4, 4), 3)
    assert got[0, 0].tolist() == [10, 20, 30]
    assert got[1, 0].tolist() == [127, 127, 127]
    assert got[2, 0].tolist() == [255, 255, 255]
    gray = np.zeros((2, 2, 2), np.uint8)
    gray[0] = (7, 255)
    path = tmp_path / "la.png"
    Image.fromarray(gray, "LA").save(path)
    assert read_image(path, (2, 2), 1)[..., 0].tolist() == [[7, 7], [255, 255]]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(tmp_path, mode):
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[:, None] * 4, 64, 1)
    path = save(tmp_path / "a.JPG", ramp, mode, format="JPEG", quality=95)
    assert read_header(path).gray == (mode == "L")
    assert np.abs(read_image(path, (64, 64), 3).astype(int) - ramp[..., None]).max() <= 4


def png(width, height, depth=8, kind=2, body=b"", chunks=()):
    def chunk(name, data):
        content = name + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    middle = b"".join(chunk(*c) for c in chunks)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle
        + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(60000, 60000), "claims|exceeds limit"),
        (png(9000, 9000), "claims 9000x9000 pixels; at most"),
        (png(2**31 - 1, 2**31 - 1), "claims|exceeds limit|cannot be decoded"),
        (png(8, 8), "cannot be decoded"),
        (png(8, 8, chunks=[(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(10**8)))]), "decoded"),
        (b"", "is no PNG or JPEG"),
        (b"GIF89a", "is no PNG or JPEG"),
        (b"\xff\xd8\xff", "is no PNG or JPEG|cannot be decoded"),
    ],
)
def test_hostile_files(tmp_path, data, message):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(BadImageError, match=message):
        read_image(tmp_path / "a.png", (4, 4), 3)


def test_other_formats_are_refused(tmp_path, picture):
    path = save(tmp_path / "a.png", picture, format="BMP")
    for read in (read_header, lambda path: read_image(path, (4, 4), 3)):
        with pytest.raises(BadImageError, match="is no PNG or JPEG"):
            read(path)


def test_missing(tmp_path):
    with pytest.raises(BadImageError, match="is no longer there"):
        read_image(tmp_path / "a.png", (4, 4), 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated(tmp_path, rng, kind):
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(buffer, kind)
    data = buffer.getvalue()
    for length in range(0, len(data) * 9 // 10, len(data) // 12):
        (tmp_path / "a").write_bytes(data[:length])
        with pytest.raises(BadImageError):
            read_image(tmp_path / "a", (8, 8), 3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_fuzz(tmp_path, rng, kind):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(buffer, kind, exif=exif)
    data = buffer.getvalue()
    refused = 0
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(rng.integers(1, 5)):
            changed[rng.integers(len(changed))] = rng.integers(256)
        (tmp_path / "a").write_bytes(changed)
        try:
            read_header(tmp_path / "a")
            assert read_image(tmp_path / "a", (8, 8), 3).shape == (8, 8, 3)
        except BadImageError as error:
            refused += 1
            assert str(error)
    assert refused > 50
