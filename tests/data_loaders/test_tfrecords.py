"""OpenAI's TFRecords: naming, ranks, windows, attributes, crops."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
import tensorflow as tf

import data_loaders
from data_loaders import DataError
from data_loaders.tfrecords import index, order
from data_loaders.tfrecords.celeba import ATTRIBUTES
from data_loaders.tfrecords.naming import level_of, shard_name


def load(root, problem="celeba", image_size=8, **options):
    return data_loaders.load(problem, data_dir=str(root), image_size=image_size, **options)


def keys(images):
    return [hashlib.sha256(image.tobytes()).hexdigest()[:12] for image in images]


def numbers_of(data, images):
    """Which training records images are."""
    if not hasattr(data, "whole"):
        data.whole = keys(next(data.batches_in_order("train", 10**6).as_numpy_iterator())[0])
    whole = data.whole
    assert len(set(whole)) == len(whole)
    return [whole.index(key) for key in keys(images)]


def take(data, batch, count, **options):
    return np.concatenate([x for x, _ in data.train_batches(batch, **options).take(count).as_numpy_iterator()])


def published_record(image, label, **more):
    """As TensorFlow 1 wrote the published data: tf.train.Example, any order of features."""
    feature = {
        "data": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=image.shape)),
        **more,
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def test_the_names_are_the_originals():
    assert shard_name("train", 32, 3, 2000) == "train-r05-s-0003-of-2000.tfrecords"
    assert shard_name("validation", 96, 0, 1) == "validation-r06-s-0000-of-0001.tfrecords"
    assert [level_of(side) for side in (4, 64, 96, 128, 256)] == [2, 6, 6, 7, 8]


def test_published_records_load(tmp_path, rng):
    """No attr (LSUN, ImageNet 32), an empty one (ImageNet), and one of 40 (CelebA-HQ)."""
    images = rng.integers(0, 256, (3, 8, 8, 3), np.uint8)
    integers = [tf.train.Feature(int64_list=tf.train.Int64List(value=value)) for value in ([], [1, 0] * 20)]
    for case, more in enumerate(({}, {"attr": integers[0]}, {"attr": integers[1]})):
        for split in ("train", "validation"):
            (tmp_path / str(case) / split).mkdir(parents=True)
            with tf.io.TFRecordWriter(str(tmp_path / str(case) / split / shard_name(split, 8, 0, 1))) as writer:
                for label, image in enumerate(images):
                    writer.write(published_record(image, label if case == 1 else 0, **more))
        data = load(tmp_path / str(case), "imagenet" if case == 1 else "celeba")
        x, y = next(data.test_batches(5).as_numpy_iterator())
        np.testing.assert_array_equal(x, images)
        assert y.tolist() == ([0, 1, 2] if case == 1 else [0, 0, 0])
        assert data.n_y == (1000 if case == 1 else 1)
        assert data.attributes == (ATTRIBUTES if case == 2 else None)
    values = data.attribute_values("test")
    assert values is not None and values.dtype == np.int8
    assert values.tolist() == [[1, -1] * 20] * 3


def test_attributes_and_labels_belong_to_their_images(write_records):
    data = load(write_records(attributes=40))
    again = load(write_records(attributes=40, folder="other", n_y=7), "imagenet")
    values = data.attribute_values("train")
    assert values is not None and values.shape == (32, 40) and set(values.ravel()) == {-1, 1}
    ordered = np.concatenate([y for _, y in again.batches_in_order("train", 5).as_numpy_iterator()])
    np.testing.assert_array_equal(ordered, again.labels("train"))
    assert len(set(ordered.tolist())) == 7


def test_missing_shards_are_named(write_records):
    root = write_records({"train": (2,) * 30, "validation": (2,)})
    for shard in (3, 17):
        (root / "train" / shard_name("train", 8, shard, 30)).unlink()
    with pytest.raises(DataError, match=r"2 of the 30 shards .*missing:\n.*s-0003-of-0030\.tfr.*\n.*s-0017-of-0030"):
        load(root)


def test_folders_without_what_is_asked_for(write_records, tmp_path, monkeypatch):
    root = write_records()
    with pytest.raises(DataError, match=r"no train-r05-s-.* there are: r03"):
        load(root, image_size=32)
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no folder .*records/tower"):
        load(root, "lsun", category="tower")
    (root / "validation").rename(root / "valid")
    with pytest.raises(DataError, match=r"no folder .*validation.*must hold train and validation"):
        load(root)
    with pytest.raises(DataError, match="square images; got image_size 8x16"):
        load(root, image_size=(8, 16))
    monkeypatch.setenv("GLOW_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no folder .*imagenet-oord-tfr.*GLOW_DATA"):
        data_loaders.load("imagenet-oord")
    monkeypatch.delenv("GLOW_DATA")
    with pytest.raises(DataError, match="no folder /mnt/host/celeba-reshard-tfr"):
        data_loaders.load("celeba", image_size=8)


def test_the_originals_folders_are_found(write_records, tmp_path, monkeypatch):
    write_records(folder="imagenet-oord-tfr", shape=(64, 64, 3), counts={"train": (2,), "validation": (1,)})
    write_records(folder="lsun/tower")
    monkeypatch.setenv("GLOW_DATA", str(tmp_path))
    assert data_loaders.load("imagenet-oord").image_shape == (64, 64, 3)  # its usual size
    assert data_loaders.load("lsun", category="tower", image_size=8).n_test == 8


def test_shards_of_two_data_sets_are_refused(write_records):
    root = write_records({"train": (3, 3), "validation": (2,)})
    write_records({"train": (3,), "validation": (2,)})
    with pytest.raises(DataError, match="2 data sets: some of 1 and some of 2"):
        load(root)


def test_sides_that_are_no_powers_of_two(write_records):
    root = write_records(shape=(12, 12, 3))
    assert load(root, image_size=12).image_shape == (12, 12, 3)
    with pytest.raises(DataError, match=r"3 of 3 shards cannot be used:\n.*byte 0: its image is 12x12x3, not 8x8x3"):
        load(root, image_size=8)  # 8 and 12 share r03


def test_shards_of_uneven_size_are_warned_of(write_records):
    root = write_records({"train": (5, 5, 2), "validation": (3,)})
    with pytest.warns(UserWarning, match=r"s-0002-of-0003.tfrecords has 2 records, train-r03-s-0000.* has 5"):
        load(root)


def test_the_index_is_kept_and_renewed(write_records, monkeypatch):
    root = write_records()
    first = load(root)
    kept = root / "train" / "train-r03-of-0003.index.npz"
    assert kept.exists() and sorted(os.listdir(root / "validation"))[0].endswith(".index.npz")
    scan = index.find_records
    monkeypatch.setattr(index, "find_records", lambda path: pytest.fail(f"{path} was scanned again"))
    again = load(root)
    for a, b in zip(first.train_batches(5).take(9), again.train_batches(5).take(9), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
    monkeypatch.setattr(index, "find_records", scan)
    kept.write_bytes(kept.read_bytes()[:50])
    assert load(root).n_train == 32
    write_records({"train": (11, 11, 11), "validation": (4, 4)})
    assert load(root).n_train == 33


def test_ranks_read_their_own_files_only(write_records):
    root = write_records({"train": (6, 6, 6, 6), "validation": (2,)})
    data = load(root)
    halves = [numbers_of(data, take(data, 6, 2, rank=rank, size=2)) for rank in (0, 1)]
    assert [sorted(half) for half in halves] == [list(range(12)), list(range(12, 24))]
    for shard in (2, 3):
        (root / "train" / shard_name("train", 8, shard, 4)).unlink()
    assert len(take(data, 6, 10, rank=0, size=2)) == 60
    with pytest.raises(DataError, match=r"Cannot read .*s-000[23]-of-0004"), data_loaders.as_data_errors():
        take(data, 6, 1, rank=1, size=2)
    with (root / "train" / shard_name("train", 8, 0, 4)).open("ab") as file:
        file.write(b"more")
    with (
        pytest.raises(DataError, match=r"s-0000-of-0004.* it had \d+ when it was loaded"),
        data_loaders.as_data_errors(),
    ):
        take(data, 6, 1, rank=0, size=2)


def test_fewer_files_than_ranks(write_records):
    data = load(write_records({"train": (7,), "validation": (2,)}))
    seen = [numbers_of(data, take(data, n, 1, rank=rank, size=3)) for rank, n in ((0, 2), (1, 2), (2, 3))]
    assert sorted([n for part in seen for n in part]) == list(range(7))
    assert len(take(data, 4, 5, rank=8, size=9)) == 20  # and fewer records
    counts = [[len(y) for _, y in data.test_batches(5, rank=r, size=3)] for r in range(3)]
    assert sorted(counts) == [[0], [1], [1]]


@pytest.fixture
def small_windows(monkeypatch):
    """Blocks of three records of 8x8x3, windows of four blocks."""
    monkeypatch.setattr(order, "BLOCK_BYTES", 900)
    monkeypatch.setattr(order, "WINDOW_BYTES", 3000)


def test_windows(small_windows, write_records):
    data = load(write_records({"train": (23, 23, 22), "validation": (2,)}))
    images = take(data, 4, 51)  # three epochs of 68 records
    numbers = numbers_of(data, images)
    epochs = [numbers[i : i + 68] for i in (0, 68, 136)]
    assert all(sorted(epoch) == list(range(68)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    for start in (4, 17, 30):
        np.testing.assert_array_equal(take(data, 4, 2, start=start), images[4 * start :][:8])
    # A window is read in few pieces, but they come from all over the files.
    window = epochs[0][:12]
    assert len({number // 3 for number in window}) < 8 and max(window) - min(window) > 20
    part = numbers_of(data, take(data, 17, 4, rank=1, size=2))
    assert sorted(part[:34]) == sorted(part[34:]) == list(range(34, 68))


def test_stretches_end_where_files_do():
    records = index.RecordIndex(tuple("abcd"), np.zeros(20, np.int64), np.asarray([0, 5, 5, 12, 20]), (0,) * 4)
    first, count = order.stretches(records, 2, 17, 4)
    assert list(zip(first.tolist(), count.tolist(), strict=True)) == [(2, 3), (5, 4), (9, 3), (12, 4), (16, 1)]
    assert [len(part) for part in order.stretches(records, 7, 7, 4)] == [0, 0]
    assert [records.file_of(n) for n in (0, 4, 5, 11, 12, 19)] == [0, 0, 2, 2, 3, 3]


def test_crops(tmp_path, rng):
    """Every pixel holds its row, its column and its image, so a crop tells where it was taken."""
    heights, widths = rng.integers(8, 15, (2, 40))
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        with tf.io.TFRecordWriter(str(tmp_path / split / shard_name(split, 8, 0, 1))) as writer:
            for number, (height, width) in enumerate(zip(heights.tolist(), widths.tolist(), strict=True)):
                rows, columns = np.mgrid[:height, :width]
                image = np.stack([rows, columns, np.full_like(rows, number)], axis=-1).astype(np.uint8)
                writer.write(published_record(image, 0))
    data = load(tmp_path, "lsun_realnvp")

    def corners(x):
        rows, columns = np.mgrid[:8, :8]
        assert x.shape[1:] == (8, 8, 3)
        np.testing.assert_array_equal(x[..., 0] - x[:, :1, :1, 0], np.broadcast_to(rows, x.shape[:3]))
        np.testing.assert_array_equal(x[..., 1] - x[:, :1, :1, 1], np.broadcast_to(columns, x.shape[:3]))
        assert (np.ptp(x[..., 2], axis=(1, 2)) == 0).all()
        return {int(image[0, 0, 2]): tuple(image[0, 0, :2].tolist()) for image in x}

    taken = take(data, 40, 12)
    epochs = [corners(taken[start : start + 40]) for start in range(0, 480, 40)]
    assert all(len(epoch) == 40 for epoch in epochs)
    for number, (height, width) in enumerate(zip(heights.tolist(), widths.tolist(), strict=True)):
        rows, columns = ({epoch[number][axis] for epoch in epochs} for axis in (0, 1))
        assert min(rows) >= 0 and max(rows) <= height - 8 and max(columns) <= width - 8
        assert len(rows) > 1 or height == 8 or max(rows) < height - 8
    assert {epoch[n][0] for epoch in epochs for n in range(40)} == set(range(7))  # up to the last row
    tests = [np.concatenate([x for x, _ in data.test_batches(b).as_numpy_iterator()]) for b in (7, 40)]
    np.testing.assert_array_equal(*tests)
    assert len(corners(tests[0])) == 40
    with pytest.raises(DataError, match="not at least 12x12x3"):
        load(tmp_path, "lsun_realnvp", image_size=12)
