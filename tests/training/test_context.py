"""Runs whose model is given a context: made of the images in every step, resumed exactly, and refused with another."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import data_loaders
import glow_tf
from glow_tf.commands import train as command
from glow_tf.config import GlowConfig
from glow_tf.flow.contexts import picture_of
from glow_tf.training import TrainError, setup, train
from tests.training.common import MODEL, TRAIN, assert_same_run

ENLARGING = {**MODEL, "context": "downsampled:4"}
SETTINGS = {**TRAIN, "epochs": 1}
pytestmark = pytest.mark.usefixtures("untraced_module")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one epoch from beginning to end."""
    logdir = tmp_path_factory.mktemp("runs") / "whole"
    train(ENLARGING, {**SETTINGS, "logdir": str(logdir)})
    return logdir


def test_a_run_in_two_parts_is_the_same_run(run, tmp_path, undrawn):
    settings = {**SETTINGS, "logdir": str(tmp_path / "parts")}
    train(ENLARGING, {**settings, "steps": 2})
    train(ENLARGING, {**settings, "resume": True})
    assert_same_run(run, tmp_path / "parts")


def test_another_context_is_refused_on_resume(run):
    for other in ("left_half", "none"):
        with pytest.raises(TrainError, match=f"context is 'downsampled:4' there, '{other}' here"):
            train({**MODEL, "context": other}, {**SETTINGS, "logdir": str(run), "resume": True})


def test_grids_show_the_contexts_of_test_images_first(run):
    picture = np.asarray(Image.open(run / "epoch_1_sample_0.png"))[::4, ::4]
    assert picture.shape == (11 * 8, 10 * 8)
    glow = glow_tf.load(run / "model")
    x = next(iter(data_loaders.load("digits").test_batches(10)))[0]
    wanted = np.concatenate(list(np.asarray(picture_of(glow.config, glow.context_of(x)))[..., 0]), 1)
    np.testing.assert_array_equal(picture[:8], wanted)
    np.testing.assert_array_equal(picture[8:16], picture[16:24])  # at temperature 0, one answer to each


def test_weights_of_an_unconditional_run_are_refused(run, tmp_path, undrawn):
    train(MODEL, {**SETTINGS, "logdir": str(tmp_path / "plain"), "dry_run": True})
    settings = {**SETTINGS, "logdir": str(tmp_path / "new"), "restore_path": str(tmp_path / "plain")}
    with pytest.raises(ValueError, match=r"does not fit the model: it lacks \['context/level_0/") as refused:
        train(ENLARGING, settings)
    assert "\n" not in str(refused.value)


def test_classes_are_needed_for_a_context_of_classes():
    data = SimpleNamespace(name="digits", n_y=10, image_shape=(8, 8, 1))
    setup.check_data(GlowConfig(8, channels=1, n_y=10, context="label"), data)
    with pytest.raises(TrainError, match="for 3 classes, digits has 10"):
        setup.check_data(GlowConfig(8, channels=1, n_y=3, context="label"), data)
    with pytest.raises(TrainError, match="context 'label': digits has no classes"):
        setup.check_data(GlowConfig(8, channels=1, n_y=1, context="label"), SimpleNamespace(**vars(data) | {"n_y": 1}))


def test_features_are_no_matter_of_a_run():
    with pytest.raises(TrainError, match="a run makes its context of its images"):
        train({**MODEL, "context_channels": 2}, SETTINGS)


@pytest.mark.parametrize(("factor", "levels"), [(16, 3), (3, 2)])
def test_a_factor_is_not_held_against_a_size_that_the_data_says(factor, levels):
    words = ["--problem", "folder", "--image_dir", ".", "--n_levels", str(levels)]
    model, _ = command.parse([*words, "--context", f"downsampled:{factor}"])
    assert model["context"] == f"downsampled:{factor}"


@pytest.mark.parametrize("kind", ["sepia", "downsampled:3", "grayscale:1"])
def test_flags_are_checked_before_any_work(kind, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.parse(["--problem", "digits", "--context", kind, "--n_levels", "1"])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"context='{kind}'" in line
