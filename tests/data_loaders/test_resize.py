from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from data_loaders import DataError
from data_loaders.resize import check_downsampling, downsample


def test_blocks_are_averaged(rng):
    images = rng.integers(0, 256, (3, 8, 12, 2), np.uint8)
    got = downsample(tf.constant(images), (4, 3)).numpy()
    expected = np.zeros((3, 4, 3, 2))
    for i in range(4):
        for j in range(3):
            expected[:, i, j] = images[:, 2 * i : 2 * i + 2, 4 * j : 4 * j + 4].mean(axis=(1, 2))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_sizes():
    assert check_downsampling("p", (32, 32), None) == (32, 32)
    assert check_downsampling("p", (32, 32), (8, 16)) == (8, 16)
    for wanted in ((64, 64), (24, 24), (32, 33)):
        with pytest.raises(DataError, match=r"'p'.*1, 2, 4, 8, 16, 32.*not made"):
            check_downsampling("p", (32, 32), wanted)
