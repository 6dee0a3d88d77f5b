"""Latents as a list and as one vector."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import GlowConfig, flatten_latents, unflatten_latents

CONFIG = GlowConfig((16, 8), n_levels=3, channels=2)


def latents(n=3):
    random = np.random.default_rng(0)
    return [random.standard_normal((n, *shape)).astype(np.float32) for shape in CONFIG.latent_shapes()]


@pytest.mark.parametrize("n", [1, 3])
def test_there_and_back(n):
    flat = flatten_latents(latents(n))
    assert flat.shape == [n, CONFIG.dimensions]
    for ours, latent in zip(unflatten_latents(CONFIG, flat), latents(n), strict=True):
        np.testing.assert_array_equal(ours, latent)


def test_order_is_fine_to_coarse_and_row_major():
    flat = np.asarray(flatten_latents(latents()))
    wanted = np.concatenate([latent.reshape(3, -1) for latent in latents()], 1)
    np.testing.assert_array_equal(flat, wanted)


def test_unknown_batch_in_a_function():
    specs = [tf.TensorSpec([None, *shape]) for shape in CONFIG.latent_shapes()]
    there_and_back = tf.function(
        lambda eps: unflatten_latents(CONFIG, flatten_latents(eps)), input_signature=[specs], autograph=False
    )
    for ours, latent in zip(there_and_back(latents()), latents(), strict=True):
        np.testing.assert_array_equal(ours, latent)


@pytest.mark.parametrize("shape", [(256,), (3, 255), (3, 257), (3, 16, 16)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"flat latents of this model are \[N, 256\], not \("):
        unflatten_latents(CONFIG, tf.zeros(shape))
