"""What is kept of a folder between starts and between processes, and what happens when it is wrong."""

from __future__ import annotations

import os
import signal
import sqlite3
import time

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import data_loaders
from data_loaders.folder import headers, index, survey
from data_loaders.folder.images import read_header
from data_loaders.folder.index import FILE_NAME
from data_loaders.folder.scan import find_states
from data_loaders.store import PixelStore
from tests.forked import Forked

pytestmark = pytest.mark.filterwarnings("ignore:Only .* images")
NAMES = [f"{kind}/{i:02}.png" for kind in ("cat", "dog") for i in range(20)]


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """Folders of any size are worth an index."""
    monkeypatch.setattr(index, "WORTH_IT", 1)
    monkeypatch.setattr(survey, "WORTH_IT", 1)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded."""
    names: list[str] = []
    inner = survey.read_upright

    def read(path, channels):
        names.append(os.path.basename(path))
        return inner(path, channels)

    monkeypatch.setattr(survey, "read_upright", read)
    return names


@pytest.fixture
def headers_read(monkeypatch):
    """The paths of the files whose headers are read."""
    paths: list[str] = []
    inner = survey.find_header

    def find(path):
        paths.append(path)
        return inner(path)

    monkeypatch.setattr(survey, "find_header", find)
    return paths


def load(root, **options):
    return data_loaders.load("folder", data_dir=str(root), **options)


def everything(data, split="train"):
    return next(data.batches_in_order(split, 1000).as_numpy_iterator())


def steps(data, count, start=0):
    return list(data.train_batches(5, start=start, seed=1).take(count).as_numpy_iterator())


def assert_same(first, second):
    for (x, y), (x2, y2) in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)


def assert_own_pixels(root, data):
    for split in ("train", "test"):
        for image, name in zip(everything(data, split)[0], data.file_names(split), strict=True):
            np.testing.assert_array_equal(image, np.asarray(Image.open(root / name)))


def test_headers_are_those_of_pillow(tmp_path, rng, monkeypatch):
    asked = []

    def ask(path):
        asked.append(path)
        return read_header(path)

    monkeypatch.setattr(headers, "read_header", ask)
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 100)
    count = 0
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"):
        for kind, options in (("PNG", {}), ("PNG", {"pnginfo": text}), ("JPEG", {}), ("JPEG", {"progressive": True})):
            for orientation in (None, 1, 6):
                exif = Image.Exif()
                if orientation:
                    exif[0x0112] = orientation
                picture = Image.fromarray(rng.integers(0, 256, (9, 14, 4), np.uint8)).convert(
                    "I;16" if mode == "I;16" else mode
                )
                path = tmp_path / f"{count}.img"
                try:
                    picture.save(path, kind, exif=exif, **options)
                except (OSError, ValueError):  # this format has no such mode
                    continue
                assert headers.find_header(path) == read_header(path)
                count += 1
    assert count > 40 and 0 < len(asked) < count  # some were quick


def test_the_second_start_reads_nothing_twice(write_images, decoded, headers_read):
    root = write_images(NAMES)
    first = load(root)
    assert len(decoded) == len(headers_read) == 40
    second = load(root)
    assert_same(steps(first, 9), steps(second, 9))
    assert_own_pixels(root, second)
    assert len(decoded) == len(headers_read) == 40
    assert os.path.exists(root / FILE_NAME)


def test_decoding_later_gives_the_same(write_images, decoded, headers_read):
    root = write_images(NAMES)
    eager = steps(load(root, check="decode", image_size=4), 12)
    del decoded[:], headers_read[:]
    later = load(root, check="later", image_size=8)
    assert not decoded and not headers_read  # known from before
    first = steps(later, 1)
    assert len(decoded) < 40
    assert_same(eager, steps(load(root, check="later", image_size=4), 12))
    assert_same(first, steps(load(root, check="decode", image_size=8), 1))


def test_later_reads_no_more_headers_than_it_must(write_images, decoded, headers_read, monkeypatch):
    monkeypatch.setattr(survey, "_BLOCK", 4)
    root = write_images(NAMES)
    assert load(root, check="later", image_size=4).image_shape == (4, 4, 3)
    assert len(headers_read) == 4 and not decoded
    gray = write_images(NAMES, mode="L", folder="gray")
    assert load(gray, check="later", image_size=4).image_shape == (4, 4, 1)


def damage_pixels(path):
    """The header stays."""
    data = bytearray(path.read_bytes())
    data[45:60] = bytes(15)
    path.write_bytes(data)


def change_replaced(path):
    Image.new("RGB", (8, 8), (9, 9, 9)).save(path)


def change_same_size_and_time(path):
    before = path.stat()
    Image.new("RGB", (5, 5)).save(path)
    path.write_bytes(path.read_bytes().ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_an_index_that_lies_replaced(write_images):
    root = write_images(NAMES)
    load(root, check="later")
    change_replaced(root / NAMES[3])
    data = load(root, check="later")
    assert_own_pixels(root, data)


def test_an_index_that_lies_removed_and_added(write_images):
    root = write_images(NAMES)
    load(root)
    (root / NAMES[3]).unlink()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(root / "cat" / "new.png")
    data = load(root)
    names = {*data.file_names("train"), *data.file_names("test")}
    assert NAMES[3] not in names and "cat/new.png" in names
    assert_own_pixels(root, data)


@pytest.mark.parametrize("check", ["decode", "later"])
def test_an_index_that_lies_truncated(write_images, check):
    root = write_images(NAMES)
    load(root, check=check)
    (root / NAMES[3]).write_bytes((root / NAMES[3]).read_bytes()[:60])
    with pytest.raises(data_loaders.DataError, match=r"1 of 40[\s\S]*cat/03.png cannot be decoded"):
        load(root, check=check)


def test_an_index_that_lies_of_a_size(write_images):
    """A file of the same name, size and time that holds another image is noticed when it is decoded."""
    root = write_images(NAMES)
    load(root, check="headers")
    change_same_size_and_time(root / NAMES[3])
    data = load(root, check="headers")
    with pytest.raises(data_loaders.DataError, match=r"03.png is 5x5, unlike the others \(8x8\)"):
        with data_loaders.as_data_errors():
            [everything(data, split) for split in ("train", "test")]


def lie_of_types(path):
    with sqlite3.connect(path) as database:
        database.execute("update files set height = 'tall'")


def lie_of_ranges(path):
    with sqlite3.connect(path) as database:
        database.execute("update files set height = -5, width = 1 << 40")


def lie_of_tables(path):
    with sqlite3.connect(path) as database:
        database.execute("drop table files")


def lie_of_bytes(path):
    path.write_bytes(b"no database" * 500)


def lie_torn(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("lie", [lie_of_types, lie_of_ranges, lie_of_tables, lie_of_bytes, lie_torn])
def test_a_damaged_index_costs_time_only(write_images, headers_read, lie):
    root = write_images(NAMES)
    expected = steps(load(root), 3)
    lie(root / FILE_NAME)
    for _ in range(2):
        assert_same(expected, steps(load(root), 3))
    assert len(headers_read) >= 80


def test_a_folder_that_cannot_be_written_to(write_images, monkeypatch, headers_read, tmp_path):
    root = write_images(NAMES)
    monkeypatch.setattr(index.os, "access", lambda *_: False)
    load(root)
    load(root)
    assert len(headers_read) == 40 and not (root / FILE_NAME).exists()
    assert list((tmp_path / "cache" / "glow_tf" / "folders").glob(f"*/{FILE_NAME}"))


def test_without_any_cache(write_images, monkeypatch, tmp_path):
    root = write_images(NAMES)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(index.os, "access", lambda *_: False)
    assert_own_pixels(root, load(root))
    assert_own_pixels(root, load(root, check="later"))


def test_a_damaged_file_found_later_is_named_then(write_images):
    root = write_images(NAMES)
    damage_pixels(root / NAMES[7])
    data = load(root, check="later", image_size=8)
    with pytest.raises(data_loaders.DataError, match=r"07.png cannot be decoded \(.*\). --skip_corrupt") as error:
        with data_loaders.as_data_errors():
            [everything(data, split) for split in ("train", "test")]
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(data_loaders.DataError, match=r"1 of 40[\s\S]*07.png cannot be decoded"):
        load(root, check="later", image_size=8)  # it was noted
    change_replaced(root / NAMES[7])
    load(root, check="later", image_size=8)


@pytest.mark.parametrize("memory_mb", [0, 10])
def test_a_file_that_comes_back_is_read(write_images, memory_mb):
    """Without --skip_corrupt nothing takes its place, neither in the data set that met the error."""
    root = write_images(NAMES)
    data = load(root, check="later", image_size=8, memory_mb=memory_mb)
    path = root / data.file_names("train")[2]
    path.rename(path.with_suffix(".away"))
    for _ in range(2):
        with pytest.raises(data_loaders.DataError, match="is no longer there"), data_loaders.as_data_errors():
            everything(data)
    path.with_suffix(".away").rename(path)
    assert_own_pixels(root, data)


def test_another_image_takes_the_place_of_a_damaged_one(write_images):
    """With its own label, in the same way in every process and after a resume, whatever is known."""
    root = write_images(NAMES)
    good = load(root, check="later", image_size=8)
    first = good.file_names("train")[4]
    (root / first).write_bytes(b"not an image")
    data = load(root, check="later", image_size=8, skip_corrupt=True)
    assert data.skipped == 0
    with pytest.warns(UserWarning, match=f"skipped: {first}"):
        x, y = everything(data)
    assert data.skipped == 1 and data.n_train == good.n_train
    np.testing.assert_array_equal(x[4], x[5])
    last_cat = [name.startswith("cat") for name in data.file_names("train")].index(False) - 1
    (root / data.file_names("train")[last_cat]).write_bytes(b"nor this")
    data = load(root, check="later", image_size=8, skip_corrupt=True)
    with pytest.warns(UserWarning, match="skipped"):
        x, y = everything(data)
    np.testing.assert_array_equal(x[last_cat], x[last_cat + 1])
    assert y[last_cat] == y[last_cat + 1] == 1  # the label of the dog that is shown
    with pytest.warns(UserWarning, match="2 of 40"):
        knowing = load(root, check="later", image_size=8, skip_corrupt=True)
    assert_same(steps(data, 14)[9:], steps(knowing, 5, start=9))


def test_a_store_that_lies(write_images, tmp_path, decoded):
    root = write_images(NAMES)
    load(root)
    (path,) = (p for p in (tmp_path / "cache" / "glow_tf" / "pixels").glob("*/*") if not p.name.endswith("lock"))
    with open(path, "r+b") as file:
        file.seek(-5, os.SEEK_END)  # in the last image
        file.write(b"\x00\x01\x02")
    before = len(decoded)
    assert_own_pixels(root, load(root))
    assert len(decoded) == before + 1
    path.write_bytes(b"short")
    assert_own_pixels(root, load(root))


def test_stores_of_earlier_states_are_removed(write_images, tmp_path):
    root = write_images(NAMES)
    for size in (8, 4):
        load(root, image_size=size)
        change_replaced(root / NAMES[1])
        load(root, image_size=size)
    kinds = [p.name.split("-")[0] for p in (tmp_path / "cache" / "glow_tf" / "pixels").glob("*/*[!k]")]
    assert sorted(kinds) == ["4x4x3", "8x8x3"]


def test_a_full_disk_keeps_pixels_in_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr("os.posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    store = PixelStore(3, (2, 2, 1), str(tmp_path), "state")
    store.put(1, np.full((2, 2, 1), 7, np.uint8))
    assert store.missing(np.arange(3)).tolist() == [0, 2]
    assert not list((tmp_path / "cache" / "glow_tf" / "pixels").glob("*/*.part"))


SLOW_READER = """
import sys, time, warnings
warnings.simplefilter("ignore")
import data_loaders
from data_loaders.folder import index, survey
index.WORTH_IT = survey.WORTH_IT = 1
inner, count = survey.read_upright, 0
def read(path, channels):
    global count
    count += 1
    time.sleep(float(sys.argv[2]))
    return inner(path, channels)
survey.read_upright = read
data = data_loaders.load("folder", data_dir=sys.argv[1], workers=1)
for split in ("train", "test"):
    next(iter(data.batches_in_order(split, 99)))
print(count, flush=True)
"""


def reader(root, pause):
    script = root.parent / "reader.py"
    script.write_text(SLOW_READER)
    cache = {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}
    return Forked(str(script), str(root), str(pause), environment=cache)


def test_two_processes_decode_each_file_once(write_images):
    root = write_images(NAMES)
    readers = [reader(root, 0.02) for _ in range(2)]
    counts = sorted(int(process.communicate(timeout=600)[0]) for process in readers)
    assert counts == [0, 40]


def test_a_killed_process_leaves_nothing_wrong(write_images, tmp_path, decoded):
    root = write_images(NAMES)
    process = reader(root, 0.3)
    pixels = tmp_path / "cache" / "glow_tf" / "pixels"
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:  # until it has decoded some
        there = [p for p in pixels.glob("*/*[!k]") if p.suffix != ".part"]
        if there and np.fromfile(there[0], np.uint32, 40).any():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert_own_pixels(root, load(root))
    assert len(decoded) <= 40


def test_few_files_leave_no_trace(write_images, tmp_path, monkeypatch):
    for module in (index, survey):
        monkeypatch.setattr(module, "WORTH_IT", 1000)
    root = write_images(NAMES)
    assert_own_pixels(root, load(root))
    assert not (root / FILE_NAME).exists() and not (tmp_path / "cache").exists()


def test_links_that_lead_nowhere(write_images):
    root = write_images(NAMES)
    os.symlink(root / "nowhere.png", root / "cat" / "link.png")
    names, sizes, times = find_states(str(root))
    assert (sizes[names.index("cat/link.png")], times[names.index("cat/link.png")]) == (-1, -1)
    with pytest.raises(data_loaders.DataError, match=r"link\.png is no longer there"):
        load(root)


def test_workers_do_not_change_what_is_read(write_images):
    root = write_images(NAMES)
    assert_same(steps(load(root, workers=1, check="later", memory_mb=0), 9), steps(load(root, workers=5), 9))
