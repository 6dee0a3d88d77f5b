"""GlowDistribution: densities and samples, of continuous and of uint8 images, and its agreement with Glow."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import glow_tf
from glow_tf.bijectors import GlowBijector, GlowDistribution
from tests.bijectors.models import model
from tests.eagerly import eagerly
from tests.golden_cases import Case, names
from tests.near import assert_near
from tests.random_weights import noise_for, random_images
from tests.tolerances import BIJECTORS, GOLDEN

tfd = tfp.distributions
FLOAT32 = BIJECTORS["float32 log-prob"]


def conditional():
    return model(ycond=True)


# Golden numbers, and agreement with Glow


@pytest.mark.parametrize("name", names("parity"))
def test_golden_bits_per_dim(name):
    case = Case(name)
    label = case["y"] if case.config.ycond else None
    distribution = GlowDistribution(case.load())
    with contextlib.nullcontext() if name == "conditional" else eagerly():  # one of them traced, as users have it
        bits = distribution.bits_per_dim(case["x"], noise=case["noise"], label=label)
        log_prob = distribution.log_prob_uint8(case["x"], noise=case["noise"], label=label)
    assert_near("bits_per_dim", bits, case["bits_x"], GOLDEN["bits"], floor=0)
    assert_near("log_prob_uint8", log_prob, case["objective"], GOLDEN["bits"], floor=0)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("ycond", [False, True])
@eagerly()
def test_agrees_with_the_model(precision, ycond):
    glow = model(precision, ycond=ycond)
    x = random_images(glow.config, 4)
    noise = noise_for(glow.config, 4, np.dtype(precision))
    y = np.array([0, 1, 2, 1]) if ycond else None
    kind = "float32 log-prob" if precision == "float32" else "tf.function"
    wanted = np.asarray(glow.log_prob(x, y, noise))
    ours = GlowDistribution(glow, label=y).log_prob_uint8(x, noise=noise)
    assert ours.shape == [4]
    assert_near("log_prob_uint8", ours, wanted, BIJECTORS[kind])
    eps = glow_tf.flatten_latents(glow.encode(x, y, noise))
    bijector = GlowBijector(glow, label=y)
    x_continuous = bijector.forward(eps)
    constant = glow.config.dimensions * np.log(glow.config.n_bins)
    base = -0.5 * np.sum(np.asarray(eps) ** 2 + np.log(2 * np.pi), 1)
    log_det = bijector.inverse_log_det_jacobian(tf.identity(x_continuous))
    assert_near("log_prob from the bijector", base + log_det - constant, wanted, BIJECTORS[kind])
    decoded = glow.decode_continuous(glow_tf.unflatten_latents(glow.config, eps), y)
    np.testing.assert_array_equal(x_continuous, decoded)


@eagerly()
def test_bfloat16_models_compute_in_float32_here():
    glow = model("bfloat16")
    x, noise = random_images(glow.config, 4), noise_for(glow.config, 4)
    ours = GlowDistribution(glow).log_prob_uint8(x, noise=noise)
    np.testing.assert_array_equal(ours, GlowDistribution(model()).log_prob_uint8(x, noise=noise))
    rounded = glow.log_prob(x, noise=noise)
    assert np.any(rounded != ours)
    assert_near("log_prob", rounded, ours, BIJECTORS["bfloat16 log-prob"])


# Densities


@eagerly()
def test_temperature_is_the_scale_of_the_latents():
    glow = model("float64")
    x = GlowDistribution(glow).sample(3, seed=[0, 1])
    eps = GlowBijector(glow).inverse(tf.identity(x))
    log_det = GlowBijector(glow).inverse_log_det_jacobian(tf.identity(x))
    wanted = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 0.5), 16).log_prob(eps) + log_det
    assert_near("log_prob", GlowDistribution(glow, temperature=0.5).log_prob(x), wanted, BIJECTORS["tf.function"])


def test_batch_of_temperatures():
    distribution = GlowDistribution(model(), temperature=[0.5, 1.0])
    assert distribution.batch_shape == [2]
    assert distribution.event_shape == [4, 4, 1]
    x = distribution.sample(5, seed=1)
    assert x.shape == [5, 2, 4, 4, 1]
    assert distribution.log_prob(x).shape == [5, 2]
    singly = [GlowDistribution(model(), temperature=t).log_prob(x[:, i]) for i, t in enumerate((0.5, 1.0))]
    assert_near("log_prob", distribution.log_prob(tf.identity(x)), tf.stack(singly, 1), FLOAT32)


def test_labels_as_parameter_and_as_argument():
    glow = conditional()
    batch = GlowDistribution(glow, label=[0, 1, 2])
    assert batch.batch_shape == [3]
    x = batch.sample(2, seed=3)
    assert x.shape == [2, 3, 4, 4, 1]
    x = tf.identity(x)
    plain = GlowDistribution(glow)
    assert_near("log_prob", batch.log_prob(x), plain.log_prob(x, label=[0, 1, 2]), FLOAT32)
    assert_near("log_prob of one class", batch[1].log_prob(x), plain.log_prob(x, label=1), FLOAT32)
    broadcast = plain.log_prob(x, bijector_kwargs={"label": [[0], [2]]})
    assert_near("log_prob", broadcast, plain.log_prob(x, label=[[0] * 3, [2] * 3]), FLOAT32)
    assert np.ptp(np.asarray(batch.log_prob(x[:, :1])), 1).max() > 1e-3  # the classes do differ
    np.testing.assert_array_equal(plain.sample(3, seed=3, label=[0, 1, 2]).shape, [3, 4, 4, 1])


def test_one_evaluation_of_value_and_density():
    distribution = GlowDistribution(model())
    x, log_prob = distribution.experimental_sample_and_log_prob(3, seed=[1, 2])
    assert distribution.bijector.inverse(x).shape == [3, 16]
    assert_near("log_prob", distribution.log_prob(tf.identity(x)), log_prob, BIJECTORS["float32 samples"])
    np.testing.assert_array_equal(distribution.sample(3, seed=[1, 2]), x)


@eagerly()
def test_monte_carlo_normalisation():
    """With importance samples from a wider distribution, the density integrates to one."""
    glow = model("float64")
    wide, distribution = GlowDistribution(glow, temperature=1.1), GlowDistribution(glow)
    x, log_q = wide.experimental_sample_and_log_prob(4000, seed=[5, 6])
    weights = np.exp(distribution.log_prob(x) - log_q)
    error = weights.std() / np.sqrt(len(weights))
    assert error < 0.05
    assert abs(weights.mean() - 1) < 4 * error


def test_kl_of_two_temperatures_is_that_of_the_latents():
    glow = model("float64")
    a, b = GlowDistribution(glow, temperature=0.5), GlowDistribution(glow)
    wanted = 16 * (np.log(2) + 0.25 / 2 - 0.5)
    assert_near("KL", tfd.kl_divergence(a, b), wanted, BIJECTORS["tf.function"])


# Samples


def test_samples_are_a_function_of_the_stateless_seed():
    distribution = GlowDistribution(model())
    draw = tf.function(lambda seed: distribution.sample(2, seed=seed), autograph=False)
    first = distribution.sample(2, seed=[7, 8])
    np.testing.assert_array_equal(distribution.sample(2, seed=[7, 8]), first)
    assert_near("samples", draw(tf.constant([7, 8])), first, BIJECTORS["float32 samples"])
    assert np.any(distribution.sample(2, seed=[7, 9]) != first)
    assert np.any(distribution.sample(2) != distribution.sample(2))


def test_sampling_at_another_temperature():
    glow = model()
    distribution = GlowDistribution(glow)
    cold = distribution.sample(2, seed=[7, 8], temperature=0.7)
    assert_near("samples", cold, distribution.copy(temperature=0.7).sample(2, seed=[7, 8]), FLOAT32)
    eps = GlowBijector(glow).inverse(distribution.sample(2, seed=[7, 8]))
    assert_near("latents", GlowBijector(glow).inverse(tf.identity(cold)), 0.7 * eps, BIJECTORS["float32 samples"])
    np.testing.assert_array_equal(distribution.sample(seed=[7, 8], temperature=[0.5, 1.0]).shape, [2, 4, 4, 1])


def test_uint8_samples_are_the_rounded_continuous_ones():
    distribution = GlowDistribution(model())
    images = distribution.sample_uint8([2, 3], seed=[1, 2], temperature=0.8)
    assert images.dtype == tf.uint8
    assert images.shape == [2, 3, 4, 4, 1]
    x = np.asarray(distribution.sample([2, 3], seed=[1, 2], temperature=0.8))
    np.testing.assert_array_equal(images, np.clip(np.floor((x + 0.5) * 16) * 16, 0, 255).astype(np.uint8))


# uint8 images


def test_noise_of_uint8_images():
    glow = model()
    distribution, x = GlowDistribution(glow), random_images(glow.config, 6).reshape(2, 3, 4, 4, 1)
    seeded = distribution.log_prob_uint8(x, seed=[1, 2])
    assert seeded.shape == [2, 3]
    np.testing.assert_array_equal(distribution.log_prob_uint8(x, seed=[1, 2]), seeded)
    noise = glow.draw_noise(x.shape, [1, 2])
    np.testing.assert_array_equal(distribution.log_prob_uint8(x, noise=noise), seeded)
    assert np.any(distribution.log_prob_uint8(x) != distribution.log_prob_uint8(x))
    assert_near("bits_per_dim", distribution.bits_per_dim(x, seed=[1, 2]), -seeded / (16 * np.log(2)), FLOAT32)
    assert distribution.log_prob_uint8(x[0, 0], seed=[1, 2]).shape == []


def test_continuous_and_uint8_images_are_not_mistaken():
    distribution, x = GlowDistribution(model()), random_images(model().config, 2)
    for method in (distribution.log_prob, distribution.prob, distribution.unnormalized_log_prob):
        for images in (x, tf.constant(x), tf.cast(x, tf.int32)):
            with pytest.raises(ValueError, match="log_prob_uint8 takes uint8"):
                method(images)
    with pytest.raises(ValueError, match="log_prob_uint8 takes uint8 images, not float32"):
        distribution.log_prob_uint8(x.astype(np.float32))
    with pytest.raises(ValueError, match="noise or a seed"):
        distribution.log_prob_uint8(x, noise=np.zeros(x.shape), seed=[0, 0])


@pytest.mark.parametrize("shape", [(4, 4, 1), (3, 4, 4, 1), (1, 3, 4, 4, 1), (5, 2, 3, 4, 4, 1), (2, 3, 4, 4)])
def test_noise_of_another_shape_is_refused(shape):
    distribution, x = GlowDistribution(model()), random_images(model().config, 6).reshape(2, 3, 4, 4, 1)
    for method in (distribution.log_prob_uint8, distribution.bits_per_dim):
        with pytest.raises(ValueError, match=r"the shape of the images, \(2, 3, 4, 4, 1\), not"):
            method(x, noise=np.zeros(shape))


@pytest.mark.parametrize("value", [-0.01, 1 / 15, 0.5, float("nan")])
def test_noise_out_of_range_is_refused(value):
    distribution = GlowDistribution(model())
    for shape in ((4, 4, 1), (2, 4, 4, 1), (2, 3, 4, 4, 1)):
        noise = np.zeros(shape)
        noise[..., -1, -1, 0] = value
        with pytest.raises(ValueError, match=r"noise must be in \[0, 1/16\]"):
            distribution.log_prob_uint8(np.zeros(shape, np.uint8), noise=noise)


def test_images_of_another_shape_are_refused_as_such():
    with pytest.raises(ValueError, match=r"takes images \[..., 4, 4, 1\], not shape \(2, 4, 3, 1\)"):
        GlowDistribution(model()).log_prob_uint8(np.zeros([2, 4, 3, 1], np.uint8), noise=np.zeros([2, 4, 3, 1]))


# Errors


@pytest.mark.parametrize("cls", [GlowBijector, GlowDistribution])
def test_what_does_not_fit_is_refused(cls):
    with pytest.raises(ValueError, match=r"a glow_tf.Glow is needed, not 'runs/digits'"):
        cls("runs/digits")
    with pytest.raises(ValueError, match="not class-conditional"):
        cls(model(), label=1)
    with pytest.raises(ValueError, match="whole numbers, not float32"):
        cls(conditional(), label=1.0)
    with pytest.raises(ValueError, match="classes 0 to 2"):
        cls(conditional(), label=[0, 3])


def test_labels_that_do_not_fit_are_refused():
    bijector = GlowBijector(conditional())
    with pytest.raises(ValueError, match=r"give label=, 0 to 2"):
        bijector.forward(tf.zeros([2, 16]))
    with pytest.raises(ValueError, match="classes 0 to 2"):
        bijector.forward(tf.zeros([2, 16]), label=-1)
    with pytest.raises(ValueError, match=r"there are \(\) images"):
        GlowDistribution(conditional()).sample(seed=1, label=[0, 1])
    with pytest.raises(ValueError, match="not class-conditional"):
        GlowDistribution(model()).log_prob(tf.zeros([4, 4, 1]), label=0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, [1.0, 0.0], float("nan")])
def test_a_temperature_without_a_density_is_refused(temperature):
    with pytest.raises(ValueError, match="must be above 0"):
        GlowDistribution(model(), temperature=temperature)


def test_shapes_that_do_not_fit_are_refused():
    bijector = GlowBijector(model())
    with pytest.raises(ValueError, match=r"forward takes flat latents \[..., 16\], not shape \(2, 15\)"):
        bijector.forward(tf.zeros([2, 15]))
    with pytest.raises(ValueError, match=r"inverse takes images \[..., 4, 4, 1\], not shape \(4, 1\)"):
        bijector.inverse(tf.zeros([4, 1]))
    with pytest.raises(ValueError, match="flat latents"):
        bijector.forward_event_shape([3])
