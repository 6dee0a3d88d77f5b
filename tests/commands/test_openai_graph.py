"""The commands on OpenAI's frozen demo graph: one of its form."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from glow_tf.commands.folders import find_model
from glow_tf.commands.models import open_model
from tests.commands.conftest import picture
from tests.random_weights import random_glow
from tests.serving.frozen_graph import write_graph, write_part


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """graph_unoptimized.pb and z_manipulate.npy."""
    folder = tmp_path_factory.mktemp("openai")
    live = random_glow(image_size=8, n_bits_x=5)
    write_graph(folder / "graph_unoptimized.pb", live)
    np.save(folder / "z_manipulate.npy", np.random.default_rng(0).standard_normal((40, live.config.dimensions)))
    return folder


@pytest.fixture
def graph(folder):
    return folder / "graph_unoptimized.pb"


def test_reconstruct_interpolate_sample_and_latents(graph, glow, photos, tmp_path):
    said = glow("reconstruct", graph, photos)
    assert "3 of 3 images came back exactly in their upper 5 bits; weights of OpenAI's graph" in said
    glow("interpolate", graph, photos / "a.png", photos / "b.png", "--frames", 3, "--scale", 1, "--out", "i.png")
    strip = picture(tmp_path / "i.png")
    np.testing.assert_array_equal(strip[:, :8], picture(photos / "a.png") >> 3 << 3)
    np.testing.assert_array_equal(strip[:, -8:], picture(photos / "b.png") >> 3 << 3)
    glow("sample", graph, "--n", 2)
    glow("encode", graph, photos, "--out", "l.npz")
    assert "3 images" in glow("decode", graph, "l.npz")


def test_manipulate_with_openai_s_directions(graph, glow, folder, photos, tmp_path):
    words = ["--attributes", folder / "z_manipulate.npy", "--names", "Smiling=0.1", "--steps", 3, "--scale", 1]
    glow("manipulate", graph, photos / "a.png", *words, "--out", "m.png")
    row = picture(tmp_path / "m.png")
    np.testing.assert_array_equal(row[:, 8:16], picture(photos / "a.png") >> 3 << 3)
    assert (row[:, :8] != row[:, 8:16]).any()


def test_what_it_cannot_do(graph, error, folder, tmp_path):
    assert "has no likelihood" in error(
        "evaluate", graph, "--problem", "folder", "--data_dir", photos_in(tmp_path / "data")
    )
    assert "is an export already" in error("export", graph, tmp_path / "x")
    assert "holds one set of weights" in error("sample", graph, "--weights", "last")
    write_part(tmp_path / "other.pb", graph, ["Placeholder", "model_1/Cast_1"])
    assert error("demo", tmp_path / "other.pb").endswith("it lacks Placeholder, model_1/Cast_1")
    assert "--names: there is no Laughing; there are: 5_o_Clock_Shadow" in error(
        "demo", graph, "--attributes", folder / "z_manipulate.npy", "--names", "Laughing", "--port", 0
    )


def test_the_demo_s_editor_moves_along_openai_s_directions(graph, folder):
    from glow_tf.latents.files import read_attributes
    from glow_tf.serving.demo.editor import Editor

    model = open_model(find_model(graph)).glow
    attributes = read_attributes(folder / "z_manipulate.npy", model.config.dimensions)
    editor = Editor(model, attributes, ["Young"])
    image = editor.sample(1, 0.7)[0]
    latents = editor.encode(image)
    np.testing.assert_array_equal(editor.picture(latents, alphas=[0]) >> 3, image >> 3)
    assert (editor.picture(latents, alphas=[0.5]) >> 3 != image >> 3).any()


def photos_in(folder):
    """A new folder with four images of 8x8."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder
