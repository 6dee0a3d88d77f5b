from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np

import data_loaders


def everything(data, split):
    x, y = next(data.batches_in_order(split, 2000).as_numpy_iterator())
    return x, y


def test_the_data_and_the_split_never_change():
    data = data_loaders.load("digits")
    assert (data.n_train, data.n_test, data.image_shape, data.n_y) == (1500, 297, (8, 8, 1), 10)
    digest = hashlib.sha256()
    for split in ("train", "test"):
        x, y = everything(data, split)
        digest.update(x.tobytes() + y.tobytes())
        assert np.bincount(y).min() > 0.85 * len(y) / 10
    assert digest.hexdigest() == "a1c909d3375b79fd1fb5965d7a01ebe14c56201114c9f479846c83ccec7ac268"


def test_grey_levels():
    x, _ = everything(data_loaders.load("digits"), "train")
    assert np.unique(x).tolist() == [16 * v for v in range(16)] + [255]
    assert len(np.unique(x // 16)) == 16  # what n_bits_x = 4 keeps


def test_it_looks_like_digits():
    x, y = everything(data_loaders.load("digits"), "train")
    means = np.stack([x[y == c].mean(axis=0).ravel() for c in range(10)])
    test_x, test_y = everything(data_loaders.load("digits"), "test")
    distance = ((test_x.reshape(-1, 1, 64).astype(float) - means) ** 2).sum(axis=2)
    assert np.mean(distance.argmin(axis=1) == test_y) > 0.85


def test_never_augmented():
    first = data_loaders.load("digits", dal=0).init_batch(50)[0]
    for dal in (1, 2):
        np.testing.assert_array_equal(first, data_loaders.load("digits", dal=dal).init_batch(50)[0])


def test_downsampled():
    full, _ = everything(data_loaders.load("digits"), "test")
    half, _ = everything(data_loaders.load("digits", image_size=4), "test")
    blocks = full.reshape(-1, 4, 2, 4, 2, 1).astype(float).mean(axis=(2, 4))
    np.testing.assert_array_equal(half, np.floor(blocks))


def test_it_is_small_and_attributed():
    files = resources.files(data_loaders)
    assert len((files / "digits.npz").read_bytes()) < 200_000
    text = (files / "digits.txt").read_text()
    assert "CC BY 4.0" in text and "Alpaydin" in text and "UCI" in text
