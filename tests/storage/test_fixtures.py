"""Files that an earlier version wrote are still read, and give the numbers that they gave then."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.commands.folders import find_model
from glow_tf.commands.models import open_model
from glow_tf.latents.files import read_attributes, read_latents

pytestmark = pytest.mark.usefixtures("untraced_module")

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NATS: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-3}  # 64 squares and log-scales, some hundred nats in float32
LATENTS: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}  # four steps of networks of width 4


@pytest.fixture(scope="module")
def numbers():
    with np.load(FIXTURES / "numbers.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    zipfile.ZipFile(FIXTURES / "export.zip").extractall(folder)
    return folder


def assert_images_equal(ours, then):
    """But for pixels at the edge of a bin, one grey level apart."""
    difference = np.abs(np.asarray(ours).astype(int) - then)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.02


def test_a_saved_model(numbers):
    glow = glow_tf.load(FIXTURES / "model")
    assert glow.fingerprint() == numbers["fingerprint"][0]
    np.testing.assert_allclose(glow.log_prob(numbers["images"], noise=numbers["noise"]), numbers["log_prob"], **NATS)
    latents = glow_tf.flatten_latents(glow.encode(numbers["images"]))
    np.testing.assert_allclose(latents, numbers["latents"], **LATENTS)
    assert_images_equal(glow.sample(2, temperature=0.7, seed=5), numbers["samples"])


def test_an_export_as_tensorflow_serves_it(numbers, export):
    loaded = tf.saved_model.load(str(export / "1"))
    images, label = tf.constant(numbers["images"]), tf.zeros([0], tf.int32)
    bits = loaded.signatures["bits_per_dim"](images=images, label=label, seed=tf.constant(3))["bits_per_dim"]
    np.testing.assert_allclose(bits, numbers["exported_bits"], rtol=1e-5)
    samples = loaded.signatures["sample"](
        n=tf.constant(2), label=label, temperature=tf.constant(0.7), seed=tf.constant(5)
    )["images"]
    assert_images_equal(samples, numbers["samples"])


def test_an_export_as_commands_open_it(numbers, export):
    opened = open_model(find_model(export))
    assert opened.weights.startswith("weights of a fixture, exported to ")
    assert opened.glow.fingerprint() == numbers["fingerprint"][0]
    latents = glow_tf.flatten_latents(opened.glow.encode(numbers["images"]))
    np.testing.assert_allclose(latents, numbers["latents"], **LATENTS)
    images = opened.glow.decode(glow_tf.unflatten_latents(opened.glow.config, tf.constant(numbers["latents"])))
    np.testing.assert_array_equal(images, numbers["images"])
    bits = opened.glow.bits_per_dim(numbers["images"], None, numbers["noise"])
    np.testing.assert_allclose(bits, -numbers["log_prob"] / (64 * np.log(2)), rtol=1e-5)


def test_latents_and_attributes(numbers):
    held = read_latents(FIXTURES / "latents.npz", 64)
    np.testing.assert_array_equal(held.latents, numbers["latents"])
    assert held.names == ("a.png", "b/ü.png", "test-2")
    assert (held.label, held.model) == (0, numbers["fingerprint"][0])
    attributes = read_attributes(FIXTURES / "attributes.npz", 64)
    assert attributes.names == ("0", "8")
    assert (attributes.n_with.tolist(), attributes.n_without.tolist()) == ([4, 7], [56, 53])
    assert (attributes.label, attributes.model) == (0, numbers["fingerprint"][0])
    assert attributes.mean.shape == (64,)
    assert np.linalg.norm(attributes.directions, axis=1) == pytest.approx([1.0845615, 0.79333365], rel=1e-6)
