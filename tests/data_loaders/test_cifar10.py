from __future__ import annotations

import pickle

import numpy as np
import pytest

import data_loaders


def test_planes_become_channels(write_cifar10):
    folder = write_cifar10(5)
    with open(folder / "cifar-10-batches-py" / "test_batch", "rb") as file:
        batch = pickle.load(file)
    data = data_loaders.load("cifar10", data_dir=str(folder))
    assert (data.n_train, data.n_test, data.image_shape) == (25, 5, (32, 32, 3))
    assert data.class_names is not None and data.class_names[:2] == ("airplane", "automobile")
    x, y = next(data.test_batches(10).as_numpy_iterator())
    assert y.tolist() == batch[b"labels"]
    for channel in range(3):
        plane = batch[b"data"][:, 1024 * channel : 1024 * (channel + 1)].reshape(5, 32, 32)
        np.testing.assert_array_equal(x[..., channel], plane)


def test_levels_differ(write_cifar10):
    folder = str(write_cifar10())
    images = [data_loaders.load("cifar10", data_dir=folder, dal=d).init_batch(20)[0] for d in (0, 1, 2)]
    assert all((images[i] != images[j]).any() for i, j in ((0, 1), (0, 2), (1, 2)))


def test_augmentation_comes_before_downsampling(write_cifar10):
    folder = str(write_cifar10())
    full = data_loaders.load("cifar10", data_dir=folder, dal=0)
    small = data_loaders.load("cifar10", data_dir=folder, dal=0, image_size=16)
    x = full.init_batch(9)[0].reshape(9, 16, 2, 16, 2, 3).astype(np.float64).mean(axis=(2, 4))
    np.testing.assert_array_equal(small.init_batch(9)[0], np.floor(x))
    moved = data_loaders.load("cifar10", data_dir=folder, dal=1).init_batch(9)[0].astype(np.float64)
    small_moved = data_loaders.load("cifar10", data_dir=folder, dal=1, image_size=16).init_batch(9)[0]
    # Rounded down once instead of before and after averaging: the same within one level.
    difference = small_moved - moved.reshape(9, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert difference.min() >= -1 and difference.max() <= 1


def test_places(write_cifar10, tmp_path, monkeypatch):
    folder = write_cifar10(2)
    inner = folder / "cifar-10-batches-py"
    assert data_loaders.load("cifar10", data_dir=str(inner)).n_train == 10
    with pytest.raises(data_loaders.DataError, match=r"no cifar-10-batches-py in .*nowhere"):
        data_loaders.load("cifar10", data_dir=str(tmp_path / "nowhere"))
    (inner / "data_batch_3").unlink()
    with pytest.raises(data_loaders.DataError, match="lacks data_batch_3"):
        data_loaders.load("cifar10", data_dir=str(folder))


@pytest.mark.parametrize("place", ["cifar-10-batches-py", "cifar-10-batches-py-target/cifar-10-batches-py"])
def test_keras_caches_of_both_ages(write_cifar10, tmp_path, monkeypatch, place):
    target = tmp_path / "keras" / "datasets" / place
    target.parent.mkdir(parents=True)
    (write_cifar10(2) / "cifar-10-batches-py").rename(target)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert data_loaders.load("cifar10").n_test == 2


def test_the_real_one(shared_data):
    data = data_loaders.load("cifar10", data_dir=str(shared_data / "cifar10"), dal=0)
    assert (data.n_train, data.n_test) == (8000, 1000)
    x, y = next(data.batches_in_order("train", 4000).as_numpy_iterator())
    assert y[:5].tolist() == [6, 9, 9, 4, 1]  # the first labels of data_batch_1
    np.testing.assert_allclose(x.mean(axis=(0, 1, 2)), [125.36, 122.85, 113.39], atol=0.01)
