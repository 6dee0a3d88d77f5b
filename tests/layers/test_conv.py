"""The convolutions as matrix products are TensorFlow's convolutions of the padded image with its indicator channel."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.layers.conv import (
    ZeroConv,
    ZeroLinear,
    conv3x3,
    edge_bias,
    edge_patches,
    grouped,
    overlap_add,
    overlap_matrix,
    patches,
    split_edge,
)
from tests.near import assert_near
from tests.random_weights import perturb
from tests.tolerances import NETWORK

SIZES = [(3, 4), (1, 1), (1, 5), (2, 2), (6, 3)]


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape))


def reference_conv(x, kernel):
    """OpenAI's formula: pad by one, append a channel that is 1 on the ring, convolve with VALID padding."""
    ring = tf.pad(tf.zeros_like(x[..., :1]), [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)
    padded = tf.concat([tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), ring], -1)
    return tf.nn.conv2d(padded, kernel, 1, "VALID")


def assert_same(ours, wanted):
    assert_near("result", ours, wanted, NETWORK["value"])


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("channels", "out"), [(1, 7), (3, 5), (6, 2)])
def test_conv3x3(height, width, channels, out):
    x, kernel = normal(2, height, width, channels), normal(3, 3, channels + 1, out, seed=1)
    assert_same(conv3x3(x, kernel), reference_conv(x, kernel))


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("channels", "out", "groups"), [(7, 1, 1), (5, 3, 1), (2, 6, 2), (3, 2, 2)])
def test_conv_by_overlaps(height, width, channels, out, groups):
    x, kernel = normal(2, height, width, channels), normal(3, 3, channels + 1, out, seed=1)
    taps = tf.reshape(x, [-1, channels]) @ overlap_matrix(kernel[:, :, :channels], groups)
    edges = grouped(edge_bias(split_edge(kernel)[1], height, width), groups)
    y = overlap_add(tf.reshape(taps, [2, height, width, 9 * out])) + edges
    wanted = reference_conv(x, kernel)
    assert_same(y, tf.concat([wanted[..., group::groups] for group in range(groups)], -1))


def test_grouped():
    np.testing.assert_array_equal(grouped(tf.range(6)[tf.newaxis], 2), [[0, 2, 4, 1, 3, 5]])
    np.testing.assert_array_equal(grouped(tf.range(6)[tf.newaxis], 1), [[0, 1, 2, 3, 4, 5]])


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_patches_are_the_windows(height, width):
    x = normal(2, height, width, 3)
    windows = tf.image.extract_patches(x, [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME")
    np.testing.assert_array_equal(patches(x), windows)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("function", "channels"), [(patches, 3), (overlap_add, 27)])
def test_gradient_is_the_transpose(function, channels, height, width):
    x, direction = normal(2, height, width, channels), normal(2, height, width, channels, seed=1)
    weight = normal(*function(x).shape, seed=2)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(function(x) * weight)
    # the function is linear, so <transpose(weight), direction> is <weight, function(direction)>
    transposed = tape.gradient(value, x)
    assert_same(tf.reduce_sum(transposed * direction), tf.reduce_sum(function(direction) * weight))


def test_edge_patches():
    indicator = np.pad(np.zeros([2, 3]), 1, constant_values=1.0)
    wanted = [indicator[y : y + 3, x : x + 3].ravel() for y in range(2) for x in range(3)]
    np.testing.assert_array_equal(edge_patches(2, 3, tf.float64), wanted)


def test_unknown_size_in_a_function():
    x, kernel = normal(2, 3, 4, 3), normal(3, 3, 4, 5, seed=1)
    traced = tf.function(
        lambda x: (conv3x3(x, kernel), overlap_add(patches(x))),
        autograph=False,
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.float64)],
    )
    for ours, wanted in zip(traced(x), (conv3x3(x, kernel), overlap_add(patches(x))), strict=True):
        assert_same(ours, wanted)
    assert traced(x[:, :1, :2])[0].shape == [2, 1, 2, 5]


def test_zero_conv():
    conv = ZeroConv(3, 4, dtype=tf.float64, name="conv")
    x = normal(2, 3, 4, 3)
    np.testing.assert_array_equal(ZeroConv.apply(conv.weights(), x), np.zeros([2, 3, 4, 4]))
    perturb(conv)
    wanted = (reference_conv(x, conv.W) + conv.b) * tf.exp(3 * conv.logs)
    assert_same(ZeroConv.apply(conv.weights(), x), wanted)


def test_zero_linear():
    linear = ZeroLinear(3, 4, dtype=tf.float64, name="linear")
    x = normal(2, 3)
    np.testing.assert_array_equal(ZeroLinear.apply(linear.weights(), x), np.zeros([2, 4]))
    perturb(linear)
    assert_same(ZeroLinear.apply(linear.weights(), x), (x @ linear.W + linear.b) * tf.exp(3 * linear.logs))
