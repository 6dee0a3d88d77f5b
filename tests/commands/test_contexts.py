"""Commands and models that are given a context."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import glow_tf
from glow_tf.flow.contexts import picture_of
from tests.commands.conftest import make_run, picture
from tests.commands.test_sample import tiles
from tests.random_weights import random_glow

pytestmark = pytest.mark.usefixtures("untraced")


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    """Saved models that colour, enlarge and take the class or features; a run that completes digits."""
    folder = tmp_path_factory.mktemp("conditional")
    kinds = {"gray": "grayscale", "small": "downsampled:4", "label": "label"}
    for name, kind in kinds.items():
        glow_tf.save(random_glow(image_size=8, n_y=3, context=kind), folder / name)
    glow_tf.save(random_glow(image_size=8, context_channels=2), folder / "features")
    make_run(folder / "run", polyak=False, image_size=8, channels=1, context="left_half")
    return folder


def test_answers_to_pictures(glow, conditional, photos, tmp_path):
    """A row for each picture: the context, then what the model samples for it with the same latents."""
    words = ["--n", 3, "--temperature", 0.5, "--seed", 2, "--scale", 1, "--out", "s.png"]
    said = glow("sample", conditional / "gray", "--context", photos / "a.png", photos / "b.png", *words)
    assert "3 answers to each of 2 pictures (grayscale)" in said
    grid = tiles(tmp_path / "s.png")
    assert grid.shape[:2] == (2, 4)
    model = glow_tf.load(conditional / "gray")
    for row, name in zip(grid, "ab", strict=True):
        context = model.context_of(picture(photos / f"{name}.png")[None])
        np.testing.assert_array_equal(row[0], picture_of(model.config, context)[0])
        wanted = model.sample(3, temperature=0.5, seed=2, context=np.repeat(context, 3, 0))
        assert np.abs(row[1:].astype(int) - wanted).max() <= 1


def test_temperatures_are_rows_of_each_picture(glow, conditional, photos, tmp_path):
    words = ["--n", 2, "--temperature", 0, 1, "--scale", 1, "--out", "s.png"]
    glow("sample", conditional / "gray", "--context", photos, *words)
    grid = tiles(tmp_path / "s.png")
    assert grid.shape[:2] == (6, 3)
    np.testing.assert_array_equal(grid[0, 0], grid[1, 0])
    np.testing.assert_array_equal(grid[0, 1], grid[0, 2])
    assert (grid[1, 1] != grid[1, 2]).any()


def test_what_is_enlarged_may_be_small(glow, conditional, photos, tmp_path):
    small = np.random.default_rng(0).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    Image.fromarray(small).save(tmp_path / "small.png")
    glow("sample", conditional / "small", "--context", "small.png", photos / "a.png", "--n", 1, "--scale", 1)
    grid = tiles(tmp_path / "samples.png")
    np.testing.assert_array_equal(grid[0, 0], np.repeat(np.repeat(small, 4, 0), 4, 1))
    model = glow_tf.load(conditional / "small")
    wanted = picture_of(model.config, model.context_of(picture(photos / "a.png")[None]))[0]
    assert np.abs(grid[1, 0].astype(int) - wanted).max() <= 1


def test_images_of_a_run(glow, conditional, tmp_path):
    """evaluate, encode and reconstruct make the context of the images; sample takes those of the data."""
    run = conditional / "run"
    assert "bits/dim" in glow("evaluate", run, "--n", 3)
    assert "3 of 3 images came back exactly" in glow("reconstruct", run, "test:0-2")
    assert "latents of 2 images" in glow("encode", run, "test:0-1")
    assert "2 answers to each of 2 pictures (left_half)" in glow("sample", run, "--context", "test:0-1", "--n", 2)


def test_a_class_as_context_is_a_label(glow, conditional, tmp_path):
    glow("sample", conditional / "label", "--n", 3, "--temperature", 0, "--columns", 3, "--scale", 1)
    grid = tiles(tmp_path / "samples.png")
    assert (grid[0, 0] != grid[0, 1]).any()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["sample", "gray"], "gray colours gray pictures: give --context IMAGE"),
        (["sample", "small", "--out", "folder"], "enlarges small pictures: give --context IMAGE"),
        (["sample", "gray", "--context", "no.png"], "no.png: there is no such file or folder"),
        (["sample", "gray", "--context", "PHOTO", "--columns", "2"], "--columns is for samples without --context"),
        (["sample", "gray", "--context", "PHOTO", "--out", "folder"], "must end in .png"),
        (["sample", "label", "--context", "PHOTO"], "its context is the class: give --label"),
        (["sample", "features"], "features is given a context (2 channels) that is not made of images"),
        (["sample", "features", "--context", "PHOTO"], "not conditioned on pictures; it takes no pictures"),
        (["evaluate", "features", "--problem", "digits"], "not made of images: give it in Python"),
        (["encode", "features", "PHOTO"], "not made of images"),
        (["decode", "gray", "latents.npz"], "is given a context (grayscale), for which decode has no place"),
        (["interpolate", "gray", "PHOTO", "PHOTO"], "for which interpolate has no place"),
    ],
)
def test_wrong_arguments(error, conditional, photos, words, what):
    command, model, *others = [str(photos / "a.png") if word == "PHOTO" else word for word in words]
    assert what in error(command, conditional / model, *others)


def test_a_model_without_context(error, models, photos):
    assert "rgb is not conditioned on pictures" in error("sample", models / "rgb", "--context", photos / "a.png")
