"""What does not fit is said before any work: one line, naming what was given and what is taken."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import Glow, GlowConfig
from glow_tf.flow.level import FlowLevel
from glow_tf.flow.step import FlowStep

CONFIG = GlowConfig(8, n_levels=2, depth=1, width=4, channels=1, ycond=True, n_y=3)
X = np.zeros([4, 8, 8, 1], np.uint8)
Y = np.array([0, 1, 2, 0])


@pytest.fixture(scope="module")
def glow():
    return Glow(CONFIG)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_as_many_labels_and_noises_as_images(glow, n):
    labels, noise = np.resize(Y, n), np.zeros([n, 8, 8, 1], np.float32)
    for method in (glow.log_prob, glow.encode):
        with pytest.raises(ValueError, match=f"{n} labels for a batch of 4"):
            method(X, labels)
        with pytest.raises(ValueError, match=f"{n} images' noise for a batch of 4"):
            method(X, Y, noise)
    with pytest.raises(ValueError, match=f"{n} labels for a batch of 4"):
        glow.decode(glow.encode(X, Y), labels)


def test_labels_that_are_known_when_a_function_runs(glow):
    noise = np.zeros(X.shape, np.float32)
    function = tf.function(lambda y: glow.log_prob(X, y, noise), autograph=False)
    np.testing.assert_array_equal(function(tf.constant(Y)), glow.log_prob(X, Y, noise))
    for wrong in ([0, 1, 3, 0], [0, -1, 2, 0]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="this model has labels 0 to 2"):
            function(tf.constant(wrong, tf.int64))


def test_as_many_of_each_latent(glow):
    fine, coarse = glow.encode(X, Y)
    with pytest.raises(ValueError, match=r"3 latents .* for a batch of 4"):
        glow.decode([fine, coarse[:3]], Y)


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "4"])
def test_number_of_samples(glow, n):
    with pytest.raises(ValueError, match="whole number, at least 1"):
        glow.sample(n, Y)


@pytest.mark.parametrize("temperature", [np.nan, -1.0, [0.5, np.inf, 1.0, 1.0]])
def test_temperature_is_finite(glow, temperature):
    with pytest.raises(ValueError, match="must be finite, 0 or more"):
        glow.sample(4, Y, temperature)


@pytest.mark.parametrize("n", [1, 3])
def test_as_many_temperatures_as_samples(glow, n):
    with pytest.raises(ValueError, match=f"{n} temperatures for a batch of 4"):
        glow.sample(4, Y, [0.5] * n)


def test_initialisation_needs_an_image(glow):
    with pytest.raises(ValueError, match="at least one image"):
        glow.initialize(X[:0], Y[:0])


def test_level_and_step_know_their_options():
    level = FlowLevel(2, 4, 4, name="level_0")
    with pytest.raises(ValueError, match="memory='none' is unknown; allowed are store, checkpoint, reversible"):
        level.forward(np.zeros([1, 2, 2, 4], np.float32), "none")
    for method in (level.forward, level.inverse):
        with pytest.raises(ValueError, match=r"level_0 takes float32 images \[N, H, W, 4\]"):
            method(np.zeros([1, 2, 2, 6], np.float32))
    with pytest.raises(ValueError, match="lu_decomposed needs permutation 'invconv', not 'reverse'"):
        FlowStep(4, 4, permutation="reverse", lu_decomposed=True)
