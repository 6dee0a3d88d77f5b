"""The folded coupling network is the network of the paper, and its written-out gradient is autodiff's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.layers.coupling_net import CouplingNet
from glow_tf.layers.products import Arithmetic
from tests.layers.test_conv import normal, reference_conv
from tests.near import assert_near
from tests.random_weights import perturb
from tests.tolerances import NETWORK

SHAPES = [((2, 3, 4, 2), 4, 5, 2), ((1, 1, 1, 1), 1, 1, 1), ((3, 2, 5, 6), 6, 3, 1)]
shapes = pytest.mark.parametrize(("shape", "out", "width", "groups"), SHAPES)


def network(shape, out, width, groups, **part):
    part = {"dtype": tf.float64, "groups": groups, **part}
    return perturb(CouplingNet(shape[-1], out, width, name="net", **part), scale=0.3)


def reference(net, x):
    """conv 3x3, actnorm, relu, conv 1x1, actnorm, relu, conv 3x3 with bias and scale; outputs in groups."""
    h = tf.nn.relu((reference_conv(x, net.l_1.W) + net.l_1.b) * tf.exp(3 * net.l_1.logs))
    h = tf.nn.conv2d(h, net.l_2.W[tf.newaxis, tf.newaxis], 1, "VALID")
    h = tf.nn.relu((h + net.l_2.b) * tf.exp(3 * net.l_2.logs))
    h = (reference_conv(h, net.l_last.W) + net.l_last.b) * tf.exp(3 * net.l_last.logs)
    return tf.concat([h[..., group :: net.groups] for group in range(net.groups)], -1)


def folded(net, x, compute_dtype=tf.float64):
    return CouplingNet.apply(net.fold(net.weights(), *x.shape[1:3]), x, Arithmetic.of(compute_dtype))[0]


@shapes
def test_folded_network(shape, out, width, groups):
    net, x = network(shape, out, width, groups), normal(*shape)
    wanted = reference(net, x)
    assert float(tf.math.reduce_std(wanted)) > 0 or wanted.shape[0] == 1
    assert_near("h", folded(net, x), wanted, NETWORK["value"])


@shapes
def test_vjp(shape, out, width, groups):
    net, x = network(shape, out, width, groups), normal(*shape)
    d_h = normal(*shape[:3], out, seed=1)
    with tf.GradientTape() as tape:
        tape.watch(x)
        h = reference(net, x)
    wanted = tape.gradient(h, [x, *net.trainable_variables], output_gradients=d_h)

    with tf.GradientTape() as tape:
        fold = net.fold(net.weights(), *shape[1:3])
    _, kept = CouplingNet.apply(fold, x, Arithmetic(tf.float64))
    d_x, d_fold = CouplingNet.vjp(fold, kept, d_h, Arithmetic(tf.float64))
    ours = [d_x, *tape.gradient(list(fold), list(net.trainable_variables), output_gradients=list(d_fold))]
    names = ["x", *(variable.name for variable in net.trainable_variables)]
    for name, a, b in zip(names, ours, wanted, strict=True):
        assert_near(f"gradient of {name}", a, b, NETWORK["gradient"])


def test_starts_at_zero():
    net = CouplingNet(2, 4, 5, dtype=tf.float64, name="net")
    np.testing.assert_array_equal(folded(net, normal(2, 3, 4, 2)), np.zeros([2, 3, 4, 4]))


def test_bfloat16_is_near_and_stays_in_the_dtype_of_x():
    shape = (2, 3, 4, 2)
    net, x = network(shape, 4, 5, 2, dtype=tf.float32), tf.cast(normal(*shape), tf.float32)
    exact, rounded = folded(net, x, tf.float32), folded(net, x, tf.bfloat16)
    assert rounded.dtype == tf.float32
    assert assert_near("h", rounded, exact, NETWORK["bfloat16"], floor=0) > 0, "nothing was rounded"


def test_initialization_normalizes_what_the_inner_actnorms_see():
    net, x = network((8, 3, 4, 2), 4, 5, 2), normal(8, 3, 4, 2)
    values, h = net.initialize(net.weights(), x)
    assert set(values) == {"l_1", "l_2"}
    net.assign_weights(values)
    assert_near("h", h, reference(net, x), NETWORK["value"])
    first = (reference_conv(x, net.l_1.W) + net.l_1.b) * tf.exp(3 * net.l_1.logs)
    second = (tf.nn.relu(first) @ net.l_2.W + net.l_2.b) * tf.exp(3 * net.l_2.logs)
    for name, activations in (("first", first), ("second", second)):
        mean, std = (reduce(activations, [0, 1, 2]) for reduce in (tf.reduce_mean, tf.math.reduce_std))
        assert_near(f"means after the {name} actnorm", mean, np.zeros(5), NETWORK["value"])
        assert_near(f"standard deviations after the {name} actnorm", std, np.ones(5), NETWORK["std"])


def test_width_must_be_positive():
    with pytest.raises(ValueError, match="net: width=0 must be at least 1"):
        CouplingNet(2, 4, 0, name="net")
