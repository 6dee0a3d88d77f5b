"""Truncated, bit-flipped and foreign TFRecords: named, or counted and left out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf

import data_loaders
from data_loaders import DataError
from data_loaders.tfrecords.framing import find_records, masked_crcs, read_record
from data_loaders.tfrecords.naming import shard_name

RECORDS = {"train": (6, 6, 6), "validation": (3,)}


@pytest.fixture
def root(write_records):
    return write_records(RECORDS)


def shard(root, number=1, split="train"):
    return root / split / shard_name(split, 8, number, len(RECORDS[split]))


def load(root, **options):
    return data_loaders.load("celeba", data_dir=str(root), image_size=8, **options)


def everything(data, split="train"):
    with data_loaders.as_data_errors():
        return np.concatenate([x for x, _ in data.batches_in_order(split, 4).as_numpy_iterator()])


def change(path, position, content):
    data = bytearray(path.read_bytes())
    data[position : position + len(content)] = content
    path.write_bytes(data)


def flip(path, record):
    """Flips one bit of a pixel."""
    offset = int(find_records(str(path))[0][record])
    change(path, offset + 60, [path.read_bytes()[offset + 60] ^ 4])
    return offset


def test_checksums():
    wanted = (((0xE3069283 >> 15) | (0xE3069283 << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    np.testing.assert_array_equal(masked_crcs(np.frombuffer(b"123456789" * 2, np.uint8).reshape(2, 9)), [wanted] * 2)


def test_records_are_found_where_tensorflow_put_them(tmp_path, rng):
    records = [rng.bytes(int(n)) for n in rng.integers(0, 300, 50)]
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        for record in records:
            writer.write(record)
    offsets, problem = find_records(str(tmp_path / "a"))
    assert not problem and [read_record(str(tmp_path / "a"), int(offset)) for offset in offsets] == records
    (tmp_path / "empty").write_bytes(b"")
    assert find_records(str(tmp_path / "empty"))[1] == ""


@pytest.mark.parametrize("cut", [1, 5, 150, 270])
def test_truncated(root, cut):
    whole = everything(load(root))
    path = shard(root)
    offsets = find_records(str(path))[0]
    path.write_bytes(path.read_bytes()[:-cut])
    at = int(offsets[5])
    message = (
        rf"1 of 3 shards are damaged:\n.*s-0001-of-0003.tfrecords, record at byte {at}: the file ends in the middle"
    )
    with pytest.raises(DataError, match=message):
        load(root)
    data = load(root, skip_corrupt=True)
    assert (data.n_train, data.skipped) == (17, 1)
    np.testing.assert_array_equal(everything(data), np.delete(whole, 11, axis=0))


def test_a_damaged_length(root):
    path = shard(root)
    at = int(find_records(str(path))[0][2])
    change(path, at + 1, b"\xff")
    with pytest.raises(DataError, match=rf"s-0001-of-0003.*record at byte {at}: its length is damaged"):
        load(root)
    assert load(root, skip_corrupt=True).n_train == 14


@pytest.mark.parametrize("record", [0, 3, 5])
def test_a_flipped_bit_is_named_when_it_is_read(root, record):
    load(root)  # and its index kept
    at = flip(shard(root), record)
    data = load(root)
    message = rf"s-0001-of-0003.tfrecords, record at byte {at}: its bytes are not those.*--skip_corrupt"
    with pytest.raises(DataError, match=message) as error:
        everything(data)
    assert "Traceback" not in str(error.value)
    with pytest.raises(DataError, match=message), data_loaders.as_data_errors():
        for _ in data.train_batches(6).take(3):
            pass
    with pytest.raises(DataError, match=message):
        _ = data.labels("train")


def test_flipped_bits_are_counted_and_left_out(root):
    whole = everything(load(root))
    for record in (2, 3):
        flip(shard(root), record)
    data = load(root, skip_corrupt=True)
    with pytest.warns(UserWarning, match=r"skipped: .*record at byte \d+.*\(. so far\)") as warned:
        rest = everything(data)
    assert len(warned) == 2
    assert data.skipped == 2
    keep = [n if n not in (8, 9) else 10 for n in range(18)]
    np.testing.assert_array_equal(rest, whole[keep])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # each is told of once
        epochs = [x.numpy() for x, _ in data.train_batches(9).take(4)]
        again = [x.numpy() for x, _ in data.train_batches(9, start=2).take(2)]
    np.testing.assert_array_equal(epochs[2:], again)
    expected = sorted(whole[n].tobytes() for n in keep)
    assert sorted(image.tobytes() for image in np.concatenate(epochs[:2])) == expected
    assert data.skipped == 2 and len(data.labels("train")) == 18


def test_the_first_record_of_the_only_shard(root):
    at = flip(shard(root, 0, "validation"), 0)
    data = load(root, skip_corrupt=True)
    with pytest.warns(UserWarning, match=f"record at byte {at}"):
        assert len(everything(data, "test")) == 3


def test_nothing_usable(root):
    path = shard(root, 0, "validation")
    for record in range(3):
        flip(path, record)
    data = load(root, skip_corrupt=True)
    with pytest.warns(UserWarning), pytest.raises(DataError, match="not one record of this data set can be used"):
        everything(data, "test")


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def example(**feature):
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


INTS = tf.train.Feature(int64_list=tf.train.Int64List(value=[8, 8, 3]))
BYTES = tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(192)]))
ONE = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
FOREIGN = {
    "no example": (b"\xff\xff\xff", "is no tf.train.Example"),
    "other features": (example(image=BYTES, size=INTS), "no feature 'shape'.*its features: image, size"),
    "other type": (example(shape=INTS, data=INTS, label=ONE), "no feature 'data' \\(bytes_list\\)"),
    "short data": (example(shape=INTS, label=ONE, data=tf.train.Feature(
        bytes_list=tf.train.BytesList(value=[bytes(5)]))), r"data of \[5\] bytes is no image of shape \[8, 8, 3\]"),
    "label": (example(shape=INTS, data=BYTES, label=ONE), "its label is 1; allowed are 0 to 0"),
    "labels": (example(shape=INTS, data=BYTES, label=INTS), "3 labels, not 1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_records(root, kind):
    record, says = FOREIGN[kind]
    write(shard(root), [record] * 6)
    with pytest.raises(DataError, match=rf"1 of 3 shards cannot be used:\n.*s-0001-of-0003.*byte 0: .*{says}"):
        load(root)
    data = load(root, skip_corrupt=True)
    assert (data.n_train, data.skipped) == (12, 1)
    assert len(everything(data)) == 12


@pytest.mark.parametrize("kind", ["short data", "label"])
def test_a_foreign_record_among_others(root, kind):
    record, says = FOREIGN[kind]
    path = shard(root)
    records = [read_record(str(path), int(offset)) for offset in find_records(str(path))[0]]
    write(path, [*records[:3], record, *records[4:]])
    at = int(find_records(str(path))[0][3])
    with pytest.raises(DataError, match=rf"s-0001-of-0003.tfrecords, record at byte {at}: .*{says}"):
        everything(load(root))
    with pytest.warns(UserWarning, match=says):
        assert len(everything(load(root, skip_corrupt=True))) == 18


def test_no_tfrecords_at_all(root):
    shard(root).write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"s-0001-of-0003.tfrecords, record at byte 0: it is no TFRecord file"):
        load(root)
    for number in range(3):
        shard(root, number).write_bytes(b"")
    with pytest.raises(DataError, match="hold no records"):
        load(root)
