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

# The last number is the channels of a context; 0 is none.
SHAPES = [
    ((2, 3, 4, 2), 4, 5, 2, 0),
    ((1, 1, 1, 1), 1, 1, 1, 0),
    ((3, 2, 5, 6), 6, 3, 1, 0),
    ((2, 3, 4, 2), 4, 5, 2, 3),
    ((1, 1, 1, 1), 1, 1, 1, 1),
]
shapes = pytest.mark.parametrize(("shape", "out", "width", "groups", "given"), SHAPES)


def network(shape, out, width, groups, given=0, **part):
    part = {"dtype": tf.float64, "groups": groups, "context_channels": given, **part}
    return perturb(CouplingNet(shape[-1], out, width, name="net", **part), scale=0.3)


def context_of(shape, given):
    return normal(*shape[:3], given, seed=2) if given else None


def first_layer(net, x, context=None):
    """conv 3x3 of x, plus the context's channels times their weights, and actnorm."""
    h = reference_conv(x, net.l_1.W) + net.l_1.b
    return (h if context is None else h + context @ net.context) * tf.exp(3 * net.l_1.logs)


def reference(net, x, context=None):
    """conv 3x3, actnorm, relu, conv 1x1, actnorm, relu, conv 3x3 with bias and scale; outputs in groups."""
    h = tf.nn.relu(first_layer(net, x, context))
    h = tf.nn.conv2d(h, net.l_2.W[tf.newaxis, tf.newaxis], 1, "VALID")
    h = tf.nn.relu((h + net.l_2.b) * tf.exp(3 * net.l_2.logs))
    h = (reference_conv(h, net.l_last.W) + net.l_last.b) * tf.exp(3 * net.l_last.logs)
    return tf.concat([h[..., group :: net.groups] for group in range(net.groups)], -1)


def folded(net, x, compute_dtype=tf.float64, context=None):
    fold = net.fold(net.scaled(net.weights()), *x.shape[1:3])
    return CouplingNet.apply(fold, x, Arithmetic.of(compute_dtype), context=context)[0]


@shapes
def test_folded_network(shape, out, width, groups, given):
    net, x, context = network(shape, out, width, groups, given), normal(*shape), context_of(shape, given)
    wanted = reference(net, x, context)
    assert float(tf.math.reduce_std(wanted)) > 0 or wanted.shape[0] == 1
    assert_near("h", folded(net, x, context=context), wanted, NETWORK["value"])


@shapes
def test_vjp(shape, out, width, groups, given):
    net, x, context = network(shape, out, width, groups, given), normal(*shape), context_of(shape, given)
    d_h = normal(*shape[:3], out, seed=1)
    inputs = [x] if context is None else [x, context]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        h = reference(net, *inputs)
    wanted = tape.gradient(h, [*inputs, *net.trainable_variables], output_gradients=d_h)

    with tf.GradientTape() as tape:
        fold = net.fold(net.scaled(net.weights()), *shape[1:3])
    _, kept = CouplingNet.apply(fold, x, Arithmetic(tf.float64), context=context)
    d_x, d_context, d_fold = CouplingNet.vjp(fold, kept, d_h, Arithmetic(tf.float64), given)
    d_inputs = [d_x] if context is None else [d_x, d_context]
    ours = [*d_inputs, *tape.gradient(list(fold), list(net.trainable_variables), output_gradients=list(d_fold))]
    names = [*["x", "context"][: len(inputs)], *(variable.name for variable in net.trainable_variables)]
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


@pytest.mark.parametrize("given", [0, 3])
def test_initialization_normalizes_what_the_inner_actnorms_see(given):
    shape = (8, 3, 4, 2)
    net, x, context = network(shape, 4, 5, 2, given), normal(*shape), context_of(shape, given)
    values, h = net.initialize(net.weights(), x, context)
    assert set(values) == {"l_1", "l_2"}
    net.assign_weights(values)
    assert_near("h", h, reference(net, x, context), NETWORK["value"])
    first = first_layer(net, x, context)
    second = (tf.nn.relu(first) @ net.l_2.W + net.l_2.b) * tf.exp(3 * net.l_2.logs)
    for name, activations in (("first", first), ("second", second)):
        mean, std = (reduce(activations, [0, 1, 2]) for reduce in (tf.reduce_mean, tf.math.reduce_std))
        assert_near(f"means after the {name} actnorm", mean, np.zeros(5), NETWORK["value"])
        assert_near(f"standard deviations after the {name} actnorm", std, np.ones(5), NETWORK["std"])


def test_width_must_be_positive():
    with pytest.raises(ValueError, match="net: width=0 must be at least 1"):
        CouplingNet(2, 4, 0, name="net")
