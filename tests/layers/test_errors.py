"""What a layer's constructor refuses, and the values of layers that are known without the general tests."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import layers
from glow_tf.flow.level import FlowLevel
from glow_tf.flow.step import FlowStep
from glow_tf.layers.base import Layer
from glow_tf.layers.prior import TopPrior
from tests.layers.test_conv import normal
from tests.near import assert_near
from tests.tolerances import POINTS


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: layers.ActNorm(0), "act_norm: channels=0 must be at least 1"),
        (lambda: layers.ActNorm(3, dtype=tf.float16), "act_norm: dtype 'float16' is not supported; use float32"),
        (lambda: layers.ActNorm(3, stack=0), "act_norm: stack=0 must be at least 1"),
        (lambda: layers.AffineCoupling(3, 4), "affine_coupling: channels=3 must be even"),
        (lambda: layers.AdditiveCoupling(5, 4), "additive_coupling: channels=5 must be even"),
        (lambda: layers.AffineCoupling(4, 0), "net: width=0 must be at least 1"),
        (lambda: layers.Split(3), "split: channels=3 must be even"),
        (lambda: FlowStep(4, 5, permutation="swap"), "flow_step: 'swap' is unknown; allowed are reverse, shuffle"),
        (lambda: FlowStep(4, 5, coupling="cubic"), "flow_step: 'cubic' is unknown; allowed are additive, affine"),
        (lambda: FlowLevel(0, 4, 5, name="level"), "level: stack=0 must be at least 1"),
    ],
)
def test_constructors_refuse(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_abstract_layer_does_nothing():
    for method in (Layer(3).forward, Layer(3).inverse):
        with pytest.raises(NotImplementedError):
            method(tf.zeros([1, 2, 2, 3]))


def test_actnorm_initialization_normalizes():
    x = 3.0 * normal(16, 4, 2, 3) + [1.0, -20.0, 300.0]
    layer = layers.ActNorm(3, dtype=tf.float64)
    y, _ = layer.initialize(x)
    assert_near("means", tf.reduce_mean(y, [0, 1, 2]), np.zeros(3), POINTS["offset 300"])
    assert_near("standard deviations", tf.math.reduce_std(y, [0, 1, 2]), np.ones(3), POINTS["epsilon"])
    assert_near("b", layer.b, -tf.reduce_mean(x, [0, 1, 2]), POINTS["float64"])


def test_actnorm_of_constant_channels_stays_finite():
    layer = layers.ActNorm(3)
    y, log_det = layer.initialize(tf.fill([4, 2, 2, 3], -0.5))
    np.testing.assert_array_equal(y, np.zeros([4, 2, 2, 3]))
    assert np.isfinite(log_det).all()
    assert_near("scales", tf.exp(3 * layer.logs), np.full(3, 1e6), POINTS["exp of 14"])


def test_squeeze_order_is_the_original():
    n, h, w, c, i, j = np.meshgrid(*map(range, (2, 3, 2, 3, 2, 2)), indexing="ij")
    x = np.random.default_rng(0).standard_normal([2, 6, 4, 3]).astype(np.float32)
    y = np.asarray(layers.Squeeze(3).forward(x)[0])
    np.testing.assert_array_equal(y[n, h, w, 4 * c + 2 * i + j], x[n, 2 * h + i, 2 * w + j, c])


def test_lu_is_the_product_of_its_factors():
    layer = layers.InvertibleConv1x1LU(4, dtype=tf.float64)
    lower, upper = np.tril(layer.L, -1) + np.eye(4), np.triu(layer.U, 1) + np.diag(layer.sign_S * np.exp(layer.log_S))
    w = np.asarray(layer.P) @ lower @ upper
    assert_near("W W'", w @ w.T, np.eye(4), POINTS["float64"])  # a rotation at first
    x = normal(2, 3, 2, 4)
    assert_near("y", layer.forward(x)[0], np.asarray(x) @ w, POINTS["float64"])
    assert {v.name for v in layer.trainable_variables} == {f"invertible_conv1x1_lu/{n}:0" for n in ("L", "U", "log_S")}


def test_split_keeps_the_first_half_and_standardizes_the_second():
    layer = layers.Split(4, dtype=tf.float64)
    x = normal(2, 3, 2, 4)
    np.testing.assert_array_equal(layer.forward(x)[0], x)  # mean 0 and scale 1 at first
    layer.conv.b.assign([1.0, 0.1, 2.0, 0.2])  # interleaved: mean, logs, mean, logs
    y, log_det = layer.forward(x)
    np.testing.assert_array_equal(y[..., :2], x[..., :2])
    assert_near("standardised half", y[..., 2:], (x[..., 2:] - [1.0, 2.0]) / np.exp([0.1, 0.2]), POINTS["float64"])
    assert_near("log_det", log_det, np.full(2, -3 * 2 * 0.3), POINTS["float64"])


def test_top_prior_takes_each_image_to_its_own_class():
    prior = TopPrior(1, learntop=False, n_y=3, dtype=tf.float64)
    prior.y_emb.b.assign([0.5, 0.1])
    prior.y_emb.W.assign([[1.0, 0.2], [2.0, 0.4], [3.0, 0.6]])
    x = normal(4, 2, 1, 1)
    labels = np.array([2, 0, 1, 2])
    mean, logs = np.array([3.5, 1.5, 2.5, 3.5]), np.array([0.7, 0.3, 0.5, 0.7])
    y, log_det = prior.forward(x, labels)
    wanted = (x - mean[:, None, None, None]) / np.exp(logs)[:, None, None, None]
    assert_near("y", y, wanted, POINTS["float64"])
    assert_near("log_det", log_det, -2 * logs, POINTS["float64"])
    assert_near("what comes back", prior.inverse(y, labels)[0], x, POINTS["float64"])


def test_top_prior_without_its_label():
    prior = TopPrior(2, learntop=True, n_y=3)
    for method in (prior.forward, prior.inverse):
        with pytest.raises(ValueError, match="top_prior: the prior is class-conditional"):
            method(tf.zeros([1, 2, 2, 2]))


def test_top_prior_without_learntop_and_classes_is_standard_normal():
    prior = TopPrior(2, learntop=False)
    x = tf.cast(normal(2, 2, 3, 2), tf.float32)
    assert not prior.variables
    np.testing.assert_array_equal(prior.forward(x)[0], x)
    np.testing.assert_array_equal(prior.forward(x)[1], np.zeros(2))
