"""What every problem's DataSet keeps to. A new problem is one more line in PROBLEMS."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import tensorflow as tf

import data_loaders

# name -> (fixture that writes the data or None, its arguments, arguments of load)
FILES = [f"train/{i}.png" for i in range(32)] + [f"test/{i}.png" for i in range(8)]
PROBLEMS: dict[str, tuple[str | None, tuple, dict]] = {
    "digits": (None, (), {}),
    "mnist small": ("write_mnist", (48, 9), {"image_size": 8}),
    "cifar10 extra": ("write_cifar10", (8,), {"dal": 2}),
    "folder": ("write_images", (FILES,), {"dal": 2}),
    "folder streamed": ("write_images", (FILES, (6, 4), "L"), {"memory_mb": 0}),
    "imagenet": ("write_records", (None, (8, 8, 3), 1000), {"image_size": 8}),
    "lsun_realnvp": ("write_records", (None, (12, 12, 3), 1), {"image_size": 12, "dal": 2, "readers": 3}),
}
# Ranks that have parts of their own do not see together what one rank sees.
WITHOUT_PARTS = [name for name in PROBLEMS if not name.startswith(("imagenet", "celeba", "lsun"))]


@pytest.fixture(params=PROBLEMS)
def make(request):
    """A function (**more arguments of load) -> DataSet."""
    return maker(request)


@pytest.fixture(params=WITHOUT_PARTS)
def make_without_parts(request):
    """The same, of the problems whose ranks share one order."""
    return maker(request)


def maker(request):
    fixture, arguments, options = PROBLEMS[request.param]
    if fixture is not None:
        options = {**options, "data_dir": str(request.getfixturevalue(fixture)(*arguments))}
    return lambda **more: data_loaders.load(request.param.split()[0], **{**options, **more})


pytestmark = pytest.mark.filterwarnings("ignore:Only .* images:UserWarning")


def batches(dataset, count):
    return list(dataset.take(count).as_numpy_iterator())


def keys(images):
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def assert_same(first, second):
    assert len(first) == len(second)
    for (x, y), (x2, y2) in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)


def test_shapes_types_and_names(make):
    data = make()
    shape = data.image_shape
    spec = data.train_batches(5).element_spec
    assert spec[0] == tf.TensorSpec((5, *shape), tf.uint8)
    assert spec[1] == tf.TensorSpec((5,), tf.int32)
    x, y = next(iter(data.test_batches(7)))
    assert x.dtype == tf.uint8 and y.dtype == tf.int32
    assert x.shape == (min(7, data.n_test), *shape)
    assert data.labels("train").shape == (data.n_train,)
    assert 0 <= data.labels("train").min() and data.labels("train").max() < data.n_y
    assert data.class_names is None or len(data.class_names) == data.n_y
    assert f"{data.n_train} training and {data.n_test} test" in data.describe()
    assert "x".join(map(str, shape)) in repr(data)


def test_training_is_repeatable_and_can_start_anywhere(make):
    data = make(seed=3)
    whole = batches(data.train_batches(7), 8)
    assert_same(whole[5:], batches(make().train_batches(7, start=5, seed=3), 3))
    assert keys(whole[0][0]) != keys(batches(data.train_batches(7, seed=4), 1)[0][0])


def test_two_ranks_with_half_a_batch_are_one_with_a_whole(make_without_parts):
    data = make_without_parts()
    whole = batches(data.train_batches(6), 5)
    ranks = [batches(data.train_batches(3, rank=r, size=2), 5) for r in (0, 1)]
    joined = [(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])) for a, b in zip(*ranks, strict=True)]
    assert_same(whole, joined)
    third = data.train_batches(2, rank=1, size=3, start=2, offset=6)  # three ranks go on after the first six images
    np.testing.assert_array_equal(next(iter(third))[0], whole[3][0][2:4])


def test_every_epoch_has_every_image_once_over_all_ranks(make):
    data = make(dal=0)
    expected = sorted(keys(np.concatenate([x for x, _ in batches(data.batches_in_order("train", 32), -1)])))
    assert len(set(expected)) >= 0.99 * data.n_train  # else this test would see little
    n, remainder = divmod(data.n_train, 4)
    assert remainder == 0
    ranks = [batches(data.train_batches(n, rank=r, size=4), 2) for r in range(4)]
    orders = [keys(np.concatenate([rank[epoch][0] for rank in ranks])) for epoch in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == expected
    assert orders[0] != orders[1]


def test_labels_belong_to_their_images(make):
    data = make(dal=0)
    ordered = batches(data.batches_in_order("train", 16), -1)
    label_of: dict[str, int] = {}
    for x, y in ordered:
        label_of.update(zip(keys(x), y.tolist(), strict=True))
    np.testing.assert_array_equal(np.concatenate([y for _, y in ordered]), data.labels("train"))
    for x, y in batches(data.train_batches(8), 6):
        assert [label_of[key] for key in keys(x)] == y.tolist()


@pytest.mark.parametrize(("batch_size", "size"), [(3, 1), (2, 3)])
def test_test_images_come_once_in_order_in_equally_many_batches(make, batch_size, size):
    data = make()
    whole = np.concatenate([x for x, _ in batches(data.test_batches(64), -1)])
    assert len(whole) == data.n_test
    ranks = [batches(data.test_batches(batch_size, rank=r, size=size), -1) for r in range(size)]
    assert len({len(rank) for rank in ranks}) == 1
    assert all(1 <= len(x) <= batch_size for rank in ranks for x, _ in rank)
    joined = np.concatenate([x for rank in ranks for x, _ in rank])
    np.testing.assert_array_equal(joined, whole)


def test_more_ranks_than_images():
    data = data_loaders.load("digits", n_test=2)
    counts = [[len(y) for _, y in data.test_batches(5, rank=r, size=3)] for r in range(3)]
    assert sorted(counts) == [[0], [1], [1]]


def test_initialisation_images(make):
    data = make()
    x, y = data.init_batch(6)
    assert isinstance(x, np.ndarray) and x.dtype == np.uint8 and y.dtype == np.int32
    assert x.shape == (6, *data.image_shape) and y.shape == (6,)
    assert_same([(x, y)], [data.init_batch(6)])
    assert keys(x) != keys(batches(data.train_batches(6), 1)[0][0])
    assert len(data.init_batch(data.n_train + 5)[1]) == data.n_train + 5  # more than there are


def test_two_ranks_initialise_with_what_one_would(make_without_parts):
    data = make_without_parts()
    halves = [data.init_batch(3, rank=r, size=2)[0] for r in (0, 1)]
    np.testing.assert_array_equal(data.init_batch(6)[0], np.concatenate(halves))


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("train_batches", {"batch_size": 0}, "batch size must be"),
        ("train_batches", {"batch_size": 2, "rank": 2, "size": 2}, "rank must be"),
        ("train_batches", {"batch_size": 2, "start": -1}, "start must be"),
        ("train_batches", {"batch_size": 2, "offset": -1}, "offset must be"),
        ("train_batches", {"batch_size": 2, "seed": -1}, "seed must be"),
        ("batches_in_order", {"split": "valid", "batch_size": 2}, "split must be"),
        ("init_batch", {"n": 0}, "batch size must be"),
    ],
)
def test_wrong_arguments(method, arguments, message):
    with pytest.raises(data_loaders.DataError, match=message):
        getattr(data_loaders.load("digits"), method)(**arguments)


def test_start_is_free():
    """A start far away is as quick as one at 0: nothing is skipped over."""
    data = data_loaders.load("digits")
    x, _ = next(iter(data.train_batches(64, start=10**12)))
    assert x.shape[0] == 64
