from __future__ import annotations

import collections

import numpy as np
import pytest
import tensorflow as tf

from data_loaders import sampling


def indices(first, count, n, seed=0):
    positions = tf.range(first, first + count, dtype=tf.int64)
    return sampling.image_indices(positions, n, seed).numpy()


@pytest.mark.parametrize("n", [1, 2, 3, 17, 100, 1500])
def test_each_epoch_is_a_permutation(n):
    for epoch in (0, 1, 7):
        assert sorted(indices(epoch * n, n, n)) == list(range(n))


def test_epochs_and_seeds_differ():
    orders = [indices(e * 500, 500, 500, seed) for e in (0, 1, 256, 2**16) for seed in (0, 1, 2**40)]
    for i, first in enumerate(orders):
        for second in orders[:i]:
            assert np.mean(first == second) < 0.05  # by chance: 1/500


def test_an_index_depends_on_its_position_only():
    n = 97
    whole = indices(0, 4 * n, n)
    np.testing.assert_array_equal(whole[150:250], indices(150, 100, n))


def test_far_positions_cost_and_work_the_same():
    n, epoch = 1000, 2**40
    assert sorted(indices(epoch * n, n, n)) == list(range(n))


def test_permutations_are_uniform():
    # 1200 epochs of 3 images: each of the 6 orders 200 times, give or take 5 standard deviations.
    orders = indices(0, 3600, 3).reshape(1200, 3)
    counts = collections.Counter(map(tuple, orders))
    assert len(counts) == 6
    assert all(abs(count - 200) < 65 for count in counts.values()), counts


def test_every_place_sees_every_image_equally_often():
    n, epochs = 50, 400
    orders = indices(0, n * epochs, n, seed=3).reshape(epochs, n)
    counts = np.stack([np.bincount(orders[:, place], minlength=n) for place in range(n)])
    chi2 = ((counts - epochs / n) ** 2 / (epochs / n)).sum() / ((n - 1) ** 2)
    assert 0.85 < chi2 < 1.15  # its standard deviation is sqrt(2) / 49


def test_uniforms_depend_on_seed_and_position_only():
    whole = sampling.uniforms(tf.constant(0, tf.int64), 300, 5).numpy()
    part = sampling.uniforms(tf.constant(123, tf.int64), 50, 5).numpy()
    np.testing.assert_array_equal(whole[123:173], part)
    other = sampling.uniforms(tf.constant(0, tf.int64), 300, 6).numpy()
    assert not np.any(np.all(whole == other, axis=1))


def test_uniforms_are_uniform_and_independent():
    u = sampling.uniforms(tf.constant(10**12, tf.int64), 4000, 2**62).numpy()
    assert u.min() >= 0 and u.max() < 1
    np.testing.assert_allclose(u.mean(axis=0), 0.5, atol=5 * np.sqrt(1 / 12 / 4000))
    np.testing.assert_allclose(u.var(axis=0), 1 / 12, atol=0.01)
    correlation = np.corrcoef(u.T) - np.eye(8)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)
    successive = np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]
    assert abs(successive) < 5 / np.sqrt(32000)


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 12, 19, 20, 21, 22, 1000])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_bounds_in_order(count, size, batch_size):
    ranks = [sampling.bounds_in_order(count, batch_size, r, size) for r in range(size)]
    covered = [i for b in ranks for k in range(len(b) - 1) for i in range(b[k], b[k + 1])]
    assert covered == list(range(count))
    assert len({len(b) for b in ranks}) == 1
    lengths = np.concatenate([np.diff(b) for b in ranks])
    assert 0 <= lengths.min() and lengths.max() <= batch_size
    assert lengths.min() > 0 or count < len(lengths)
