"""OpenAI's frozen demo graph: one of its form, made of a small model. OpenAI's own file was not at hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.util import deprecation

import glow_tf
from data_loaders import DataError
from glow_tf.latents.files import read_attributes
from glow_tf.serving.openai_graph import OpenAIGraph
from tests.eagerly import eagerly
from tests.random_weights import random_glow, random_images
from tests.serving.frozen_graph import write_graph, write_part


@pytest.fixture(scope="module")
def glow():
    return random_glow(image_size=(8, 16), n_bits_x=5, n_levels=3)


@pytest.fixture(scope="module")
def path(glow, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "graph_unoptimized.pb"
    write_graph(path, glow)
    return path


@pytest.fixture(scope="module")
def graph(path):
    return OpenAIGraph(path)


def test_it_says_what_images_it_is_for(graph):
    config = graph.config
    assert (config.image_shape, config.n_levels, config.n_bits_x) == ((8, 16, 3), 3, 5)
    assert len(graph.fingerprint()) == 16


def test_reading_it_says_nothing(path, capfd, caplog, monkeypatch):
    monkeypatch.setattr(deprecation, "_PRINTED_WARNING", {})  # each is said once in a process
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    OpenAIGraph(path)
    assert caplog.messages == [] and capfd.readouterr().err == ""


@pytest.mark.parametrize("n", [1, 3])
@eagerly()
def test_the_numbers_of_the_model(graph, glow, n):
    x = random_images(glow.config, n)
    for ours, theirs in zip(glow.encode(x), graph.encode(x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5, rtol=2e-5)
    np.testing.assert_array_equal(graph.decode(graph.encode(x)), x >> 3 << 3)
    assert np.mean(np.asarray(graph.sample(n, seed=2)) != glow.sample(n, seed=2)) < 0.01


def test_it_has_no_likelihood(graph, glow):
    with pytest.raises(ValueError, match="has no likelihood"):
        graph.log_prob(random_images(glow.config, 1))
    with pytest.raises(ValueError, match="takes none"):
        graph.encode(random_images(glow.config, 1), noise=np.zeros([1, 8, 16, 3]))


@pytest.mark.parametrize("bits", [1, 8])
def test_the_bits_that_its_images_use(tmp_path, bits):
    write_graph(tmp_path / "x.pb", random_glow(image_size=8, depth=1, n_bits_x=bits))
    assert OpenAIGraph(tmp_path / "x.pb").config.n_bits_x == bits


@pytest.mark.parametrize(
    "missing", [["input/image"], ["Placeholder_1", "model/truediv_4"], ["input/label", "model_1/Cast_1"]]
)
def test_tensors_that_are_missing_are_named(path, tmp_path, missing):
    write_part(tmp_path / "x.pb", path, missing)
    with pytest.raises(ValueError, match=f"not the graph of OpenAI's demo: it lacks {', '.join(missing)}$"):
        OpenAIGraph(tmp_path / "x.pb")


def test_other_files(tmp_path):
    (tmp_path / "x.pb").write_bytes(b"\x08nonsense\xff\xff")
    with pytest.raises(ValueError, match=r"x\.pb: not a frozen TensorFlow graph"):
        OpenAIGraph(tmp_path / "x.pb")
    (tmp_path / "x.pb").write_bytes(b"")
    with pytest.raises(ValueError, match=r"it lacks input/image, .*Placeholder_5, .*model/pool4/truediv_1, .*Cast_1$"):
        OpenAIGraph(tmp_path / "x.pb")


def test_directions_of_openai(tmp_path):
    directions = np.random.default_rng(0).standard_normal((40, 12))
    np.save(tmp_path / "z_manipulate.npy", directions)
    held = read_attributes(tmp_path / "z_manipulate.npy", 12)
    assert (held.names[31], held.model, held.label) == ("Smiling", "", 0)
    np.testing.assert_array_equal(held.direction("Smiling"), directions[31].astype(np.float32))
    np.save(tmp_path / "z.npy", directions[:3])
    assert read_attributes(tmp_path / "z.npy", 12).names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros([3, 5]), r"float64 of shape \[3, 5\]; expected float \[n, 12\]"),
        (np.zeros([12]), r"shape \[12\]"),
        (np.zeros([3, 12], int), "int64 of shape"),
        (np.full([3, 12], np.nan), "not finite"),
        (np.array([{}], object), "not a .npy file"),
    ],
)
def test_directions_that_are_none(tmp_path, content, message):
    np.save(tmp_path / "z.npy", content, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        read_attributes(tmp_path / "z.npy", 12)


def test_a_file_of_directions_that_is_missing_or_damaged(tmp_path):
    for content in (None, b"", b"\x93NUMPY\x01\x00v"):
        if content is not None:
            (tmp_path / "z.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"z\.npy: not a \.npy file"):
            read_attributes(tmp_path / "z.npy", 12)


def test_a_latent_list_is_as_long_as_the_graph_s(graph):
    with pytest.raises(ValueError, match="this model's latents are"):
        graph.decode(glow_tf.unflatten_latents(glow_tf.GlowConfig((8, 16), n_levels=1), np.zeros([1, 384])))
