from __future__ import annotations

import numpy as np
import pytest

import data_loaders


def test_padding_and_one_channel(write_mnist):
    folder = write_mnist(6, 4)
    original = np.load(folder / "mnist.npz", allow_pickle=False)
    data = data_loaders.load("mnist", data_dir=str(folder), dal=0)
    assert data.image_shape == (32, 32, 1)
    x, y = next(data.test_batches(10).as_numpy_iterator())
    np.testing.assert_array_equal(x[:, 2:-2, 2:-2, 0], original["x_test"])
    np.testing.assert_array_equal(y, original["y_test"])
    expected = np.pad(original["x_test"], ((0, 0), (2, 2), (2, 2)), "minimum")
    np.testing.assert_array_equal(x[..., 0], expected)


def test_both_levels_shift(write_mnist):
    folder = str(write_mnist())
    plain, one, two = (data_loaders.load("mnist", data_dir=folder, dal=d) for d in (0, 1, 2))
    assert (plain.init_batch(20)[0] != one.init_batch(20)[0]).any()
    np.testing.assert_array_equal(one.init_batch(20)[0], two.init_batch(20)[0])


def test_places(write_mnist, tmp_path, monkeypatch):
    folder = write_mnist(5, 3)
    assert data_loaders.load("mnist", data_dir=str(folder / "mnist.npz")).n_train == 5
    with pytest.raises(data_loaders.DataError, match=r"no mnist\.npz in .*nowhere"):
        data_loaders.load("mnist", data_dir=str(tmp_path / "nowhere"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras").mkdir()
    folder.rename(tmp_path / "keras" / "datasets")
    assert data_loaders.load("mnist").n_test == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_test": None}, "no array 'y_test'"),
        ({"x_train": np.zeros((5, 28, 27), np.uint8)}, r"expected \[n, 28, 28\]"),
        ({"x_train": np.zeros((5, 28, 28), np.float32)}, "is float32; expected uint8"),
        ({"y_train": np.zeros(4, np.uint8)}, "5 train images but 4 labels"),
        ({"y_train": np.full(5, 10, np.int64)}, "labels from 10 to 10"),
        ({"y_train": np.full(5, -1, np.int64)}, "labels from -1 to -1"),
        ({"y_train": np.array([{}] * 5, object)}, "is object; expected uint8"),
    ],
)
def test_wrong_content(write_mnist, change, message):
    path = write_mnist(5, 3) / "mnist.npz"
    arrays = {**np.load(path, allow_pickle=False), **change}
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})
    with pytest.raises(data_loaders.DataError, match=message):
        data_loaders.load("mnist", data_dir=str(path))


def test_the_real_one(shared_data):
    data = data_loaders.load("mnist", data_dir=str(shared_data / "mnist"), dal=0)
    assert (data.n_train, data.n_test) == (60000, 10000)
    x, y = next(data.batches_in_order("train", 60000).as_numpy_iterator())
    assert y[:5].tolist() == [5, 0, 4, 1, 9]
    assert abs(x.mean() / 255 * (32 / 28) ** 2 - 0.13066) < 1e-4
