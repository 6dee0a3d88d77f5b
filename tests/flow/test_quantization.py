"""uint8 images come back from the middle and from the ends of their bins, at every number of bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import GlowConfig
from glow_tf.flow import quantization
from tests.near import assert_near
from tests.tolerances import POINTS

every_bits = pytest.mark.parametrize("bits", range(1, 9))
ALL = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


def config_of(bits):
    return GlowConfig(16, n_bits_x=bits, channels=1)


@every_bits
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.99])
def test_there_and_back(bits, dtype, place):
    config = config_of(bits)
    continuous = quantization.to_continuous(config, tf.constant(ALL), tf.cast(place / 2**bits, dtype), dtype)
    assert continuous.dtype == dtype
    assert np.all((continuous >= -0.5) & (continuous < 0.5))
    step = 2 ** (8 - bits)
    np.testing.assert_array_equal(quantization.to_uint8(config, continuous), ALL // step * step)


def test_known_values():
    x = tf.constant([[0, 31, 32, 255]], tf.uint8)
    y = quantization.to_continuous(config_of(3), x, tf.constant(0.0), tf.float32)
    np.testing.assert_array_equal(y, [[-0.5, -0.5, -0.375, 0.375]])


@every_bits
def test_what_is_outside_is_clipped(bits):
    values = tf.constant([-1e9, -0.5001, -0.5, 0.4999, 0.5, 1e9])
    highest = 256 - 2 ** (8 - bits)
    # like OpenAI's code, 0.5 and above give 255, one above the highest bin's lower end
    np.testing.assert_array_equal(quantization.to_uint8(config_of(bits), values), [0, 0, 0, highest, 255, 255])


@every_bits
def test_uniform_images_have_n_bits_per_dim(bits):
    config = config_of(bits)
    log_prob = tf.fill([3], tf.constant(quantization.quantization_log_prob(config), tf.float64))
    assert_near("log_prob", log_prob, np.full(3, -256 * bits * math.log(2)), POINTS["float64"])
    assert_near("bits_per_dim", quantization.to_bits_per_dim(config, log_prob), np.full(3, bits), POINTS["float64"])


@every_bits
def test_noise_stays_in_its_bin(bits):
    noise = np.asarray(quantization.uniform_noise(config_of(bits), [64, 16, 16, 1], [1, 2], tf.float32))
    assert 0 <= noise.min() < 1e-3 / 2**bits
    assert 0.999 / 2**bits < noise.max() <= 1 / 2**bits
    assert abs(noise.mean() * 2**bits - 0.5) < 0.01
    again = quantization.uniform_noise(config_of(bits), [64, 16, 16, 1], [1, 2], tf.float32)
    np.testing.assert_array_equal(noise, again)
