from __future__ import annotations

import os
import pickle
import struct

import numpy as np
import pytest

from data_loaders import DataError
from data_loaders.cifar_pickle import read_batch


@pytest.fixture
def read(tmp_path):
    """A function: bytes of a file -> what read_batch makes of it."""

    def run(data: bytes):
        (tmp_path / "batch").write_bytes(data)
        return read_batch(str(tmp_path / "batch"))

    return run


def images_of(pixels):
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def test_what_python_2_wrote(read, python2_batch):
    data, pixels, labels = python2_batch
    reference = pickle.loads(data, encoding="bytes")  # our own file, so it may be unpickled
    np.testing.assert_array_equal(reference[b"data"], pixels)
    x, y = read(data)
    np.testing.assert_array_equal(x, images_of(pixels))
    assert y.tolist() == labels


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("key", [str, str.encode], ids=["str", "bytes"])
def test_what_python_3_writes(read, rng, protocol, key):
    pixels = rng.integers(0, 256, (300, 3072), np.uint8)
    labels = [int(label) for label in rng.integers(0, 10, 300)]
    batch = {key("data"): pixels, key("labels"): labels, key("filenames"): ["a.png"] * 300}
    x, y = read(pickle.dumps(batch, protocol))
    np.testing.assert_array_equal(x, images_of(pixels))
    assert y.tolist() == labels


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("where", ["whole", "value", "label"])
def test_no_code_runs(read, tmp_path, protocol, where):
    marker = tmp_path / "ran"
    call = Call(os.system, f"touch {marker}")
    data = np.zeros((1, 3072), np.uint8)
    batch = {
        "whole": call,
        "value": {"data": data, "labels": [1], "more": call},
        "label": {"data": data, "labels": [call]},
    }[where]
    with pytest.raises(DataError, match="refused"):
        read(pickle.dumps(batch, protocol))
    assert not marker.exists()


@pytest.mark.parametrize("function", [eval, getattr, __import__, np.load, np.empty, np.fromfile])
def test_no_other_names(read, function):
    with pytest.raises(DataError, match="refused"):
        read(pickle.dumps(Call(function, "x"), 2))


SHORT = b"\x80\x02"
HOSTILE = {
    "a claimed string of 2 GB": SHORT + b"T" + struct.pack("<i", 2**31 - 1) + b"abc.",
    "a negative length": SHORT + b"T" + struct.pack("<i", -5) + b"abc.",
    "claimed bytes of 2**60": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.",
    "a memo place far away": SHORT + b"}r" + struct.pack("<I", 2**32 - 1) + b".",
    "a frame longer than the file": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",
    "a huge array asked for": SHORT
    + b"cnumpy\nndarray\n(J" + struct.pack("<i", 2**31 - 1) + b"J" + struct.pack("<i", 2**31 - 1) + b"t\x85R.",
    "a million lists": SHORT + b"]" * 600_000 + b".",
    "a deep nest": SHORT + b"]" + b"\x85" * 50_000 + b".",
    "a memo that is not there": SHORT + b"h\x07.",
    "an empty stack": SHORT + b".",
    "a mark that is not there": SHORT + b"t.",
    "a list into itself": SHORT + b"]q\x00h\x00a.",
    "an item of a number": SHORT + b"K\x01K\x02a.",
    "an odd number of items": SHORT + b"}(K\x01u.",
    "a number as a key": SHORT + b"}K\x01K\x02s.",
    "a persistent object": SHORT + b"Pname\n.",
    "an extension": SHORT + b"\x82\x01.",
    "an instance": SHORT + b"(ios\nsystem\n.",
    "a text number": SHORT + b"I" + b"9" * 100_000 + b"\n.",
    "no end": SHORT + b"}",
    "nothing": b"",
    "text": b"hello",
    "not a dictionary": SHORT + b"K\x01.",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(read, name):
    with pytest.raises(DataError, match="batch"):
        read(HOSTILE[name])


def array_of(shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"data": array_of((2, 3072))}, "no entries"),
        ({"data": array_of((2, 3072)), "fine_labels": [1, 2]}, "CIFAR-100"),
        ({"data": array_of((2, 3072)), "labels": [1]}, r"shape is not \[1, 3072\]"),
        ({"data": array_of((2, 3071)), "labels": [1, 2]}, "shape is not"),
        ({"data": array_of((2, 3072), np.int64), "labels": [1, 2]}, "not of type uint8"),
        ({"data": array_of((2, 3072), object), "labels": [1, 2]}, "not of type uint8"),
        ({"data": np.asfortranarray(array_of((2, 3072))), "labels": [1, 2]}, "shape is not"),
        ({"data": b"abc", "labels": [1]}, "no NumPy array"),
        ({"data": array_of((1, 3072)), "labels": [10]}, "classes from 0 to 9"),
        ({"data": array_of((1, 3072)), "labels": [True]}, "classes from 0 to 9"),
        ({"data": array_of((1, 3072)), "labels": 3}, "classes from 0 to 9"),
        ({"data": array_of((1, 3072)), "labels": []}, "0 labels"),
        ({"data": np.uint8, "labels": [1]}, "refused"),
    ],
)
def test_content_that_does_not_fit(read, batch, message):
    with pytest.raises(DataError, match=message):
        read(pickle.dumps(batch, 2))


def test_a_wrong_length_of_pixels(read, python2_batch):
    data, _, _ = python2_batch
    for change in (-1, 1):
        wrong = data.replace(b"T" + struct.pack("<i", 9216), b"T" + struct.pack("<i", 9216 + change))
        assert wrong != data
        with pytest.raises(DataError):
            read(wrong)


def test_truncated_anywhere(read, python2_batch):
    data, _, _ = python2_batch
    for length in [*range(0, 250), *range(250, len(data), 997), len(data) - 1]:
        with pytest.raises(DataError):
            read(data[:length])


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_fuzz(read, python2_batch, rng):
    data, _, _ = python2_batch
    head = data.index(b"T" + struct.pack("<i", 9216)) + 5
    places = [*range(head), *range(len(data) - 3, len(data))]  # all but the pixels
    refused = 0
    for _ in range(500):
        changed = bytearray(data)
        for place in rng.choice(places, rng.integers(1, 4), replace=False):
            changed[place] = rng.integers(256)
        try:
            x, y = read(bytes(changed))
            assert x.shape[1:] == (32, 32, 3) and len(x) == len(y)
        except DataError:
            refused += 1
    assert refused > 250


def test_a_file_too_large_is_not_read(tmp_path):
    with open(tmp_path / "batch", "wb") as file:
        file.truncate(2**40)  # a hole: takes no room
    with pytest.raises(DataError, match="at most"):
        read_batch(str(tmp_path / "batch"))
