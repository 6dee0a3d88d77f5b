"""Small data sets in the real layouts, made in tmp_path."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_loaders.tfrecords.examples import make_record
from data_loaders.tfrecords.naming import shard_name

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture
def shared_data():
    """The folder of the real data sets, where there is one."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """What is kept between starts is kept for the test only."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def write_mnist(tmp_path, rng):
    """A function (n_train, n_test) -> folder of an mnist.npz of random images."""

    def write(n_train=50, n_test=20):
        arrays = {}
        for split, n in (("train", n_train), ("test", n_test)):
            arrays[f"x_{split}"] = rng.integers(0, 256, (n, 28, 28), np.uint8)
            arrays[f"y_{split}"] = (np.arange(n) % 10).astype(np.uint8)
        folder = tmp_path / "mnist_data"
        folder.mkdir()
        np.savez_compressed(folder / "mnist.npz", **arrays)
        return folder

    return write


@pytest.fixture
def write_cifar10(tmp_path, rng):
    """A function (images per file) -> folder of a cifar-10-batches-py of random images."""

    def write(n=12):
        folder = tmp_path / "cifar_data" / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
            data = rng.integers(0, 256, (n, 3072), np.uint8)
            labels = [int(label) for label in rng.integers(0, 10, n)]
            (folder / name).write_bytes(pickle.dumps({b"data": data, b"labels": labels}, 2))
        return folder.parent

    return write


@pytest.fixture
def write_images(tmp_path, rng):
    """A function (names, size, mode) -> folder of random PNG images."""

    def write(names, size=(8, 8), mode="RGB", folder="images"):
        root = tmp_path / folder
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shape = size if mode == "L" else (*size, len(mode))
            Image.fromarray(rng.integers(0, 256, shape, np.uint8), mode).save(path)
        return root

    return write


@pytest.fixture
def write_records(tmp_path, rng):
    """A function (counts, shape, n_y, attributes, folder, side) -> folder of TFRecords of random images.

    Shards are written by TensorFlow itself. counts: of every shard, for each split.
    """

    def write(counts=None, shape=(8, 8, 3), n_y=1, attributes=0, folder="records", side=None):
        counts = counts or {"train": (11, 11, 10), "validation": (4, 4)}
        for split, shards in counts.items():
            (tmp_path / folder / split).mkdir(parents=True, exist_ok=True)
            for shard, count in enumerate(shards):
                path = tmp_path / folder / split / shard_name(split, side or shape[0], shard, len(shards))
                with tf.io.TFRecordWriter(str(path)) as writer:
                    for number in range(count):
                        attr = rng.choice([-1, 1], attributes)
                        image = rng.integers(0, 256, shape, np.uint8)
                        writer.write(make_record(image, (number + shard) % n_y, attr))
        return tmp_path / folder

    return write


def python2_pickle(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 wrote the published ones: protocol 2 with byte strings."""

    def short(text: str) -> bytes:
        return b"U" + bytes([len(text)]) + text.encode()

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85"
        + short("b") + b"\x87R(K\x01"
        + b"M" + struct.pack("<H", pixels.shape[0]) + b"M\x00\x0c\x86"
        + b"cnumpy\ndtype\n" + short("u1") + b"K\x00K\x01\x87R(K\x03" + short("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T" + struct.pack("<i", pixels.size) + pixels.tobytes() + b"tb"
    )  # fmt: skip
    values = b"".join(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}q\x00(" + short("labels") + b"](" + values + b"e" + short("data") + array + b"u."


@pytest.fixture
def python2_batch(rng):
    """(pickle, pixels, labels) of three images."""
    pixels = rng.integers(0, 256, (3, 3072), np.uint8)
    return python2_pickle(pixels, [3, 0, 9]), pixels, [3, 0, 9]
