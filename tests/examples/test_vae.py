"""The example of a VAE with a flow for a prior, at a small size."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.examples.vae import LATENTS, VAE, digits, main, train
from glow_tf.examples.vae import test_elbo as elbo_of  # under its own name pytest would collect it
from tests.eagerly import eagerly
from tests.random_weights import perturb

SMALL = ["--depth", "1", "--width", "2", "--steps", "2", "--batch", "4", "--seeds", "1"]


@pytest.fixture(scope="module")
def x():
    return digits("train")[:64]


def test_digits():
    assert digits("train").shape[1:] == digits("test").shape[1:] == [8, 8, 1]
    assert set(np.unique(digits("test"))) == set(range(16))


def test_likelihood_is_a_distribution_over_grey_values():
    values = tf.reshape(tf.range(16.0), [16, 1, 1, 1]) * tf.ones([1, 8, 8, 1])
    z = 3 * tf.random.stateless_normal([1, *LATENTS], [0, 1])
    per_pixel = VAE(0, width=4).likelihood(z).distribution.prob(values)
    np.testing.assert_allclose(tf.reduce_sum(per_pixel, 0), np.ones([8, 8, 1]), rtol=1e-5)


def test_models_differ_in_the_prior_only(x):
    gaussian, flow = VAE(0, width=4, seed=1), VAE(2, width=4, seed=1)
    for a, b in zip(
        gaussian.encoder.weights + gaussian.decoder.weights, flow.encoder.weights + flow.decoder.weights, strict=True
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(gaussian.posterior(x).mean(), flow.posterior(x).mean())
    assert len(flow.weights) > len(gaussian.weights)
    assert gaussian.prior().event_shape == flow.prior().event_shape == LATENTS


def test_the_posterior_is_a_density_that_depends_on_the_image(x):
    """Draws' densities are those of the Gaussian they came from, changed by the Jacobian; other images, other draws."""
    vae = VAE(0, width=4, posterior_depth=2)
    perturb(vae.posterior_flow)
    posterior = vae.posterior(x[:3])
    z, log_q = posterior.experimental_sample_and_log_prob(seed=[1, 2])
    np.testing.assert_allclose(posterior.log_prob(tf.identity(z)), log_q, rtol=1e-4)
    assert vae.posterior_flow is not None
    base, log_det = vae.posterior_flow.layer.inverse(z, context=vae.features(x[:3]))
    np.testing.assert_allclose(posterior.distribution.log_prob(base) + log_det, log_q, rtol=1e-4)
    same_base = vae.posterior_flow.layer.forward(base, context=vae.features(x[3:6]))[0]
    assert np.abs(same_base - z).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("depths", [(1, 0), (0, 1)])
def test_training_raises_the_elbo(x, depths):
    vae = VAE(depths[0], width=4, posterior_depth=depths[1])
    with eagerly():
        before = elbo_of(vae, x, draws=2)
    train(vae, x, steps=30, batch=16, seed=0)
    with eagerly():
        assert elbo_of(vae, x, draws=2) > before + 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Even though the `tf.config")  # tf.data is traced nevertheless
@eagerly()
def test_command(tmp_path, capsys):
    out = tmp_path / "figures.json"
    main([*SMALL, "--out", str(out)])
    (row,) = json.loads(out.read_text())["rows"]
    assert {"seed", "gaussian", "flow", "posterior"} == set(row)
    assert np.isfinite(list(row.values())).all()
    assert "| 0 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "--steps: '0': a whole number of at least 1"),
        (["--depth", "0"], "--depth: '0'"),
        (["--seeds", "0"], "--seeds: '0'"),
        (["--out", f"{__file__}/x.json"], "is a file; a folder is needed"),
        (["--out", "figures.txt"], "must end in .json"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*SMALL, *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
