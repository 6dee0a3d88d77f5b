"""Folders with tiny models, and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import glow_tf
from glow_tf.commands import main
from glow_tf.storage import checkpoints
from glow_tf.training.config import TrainConfig
from tests.eagerly import eagerly
from tests.random_weights import perturb, random_glow

RGB: dict[str, Any] = {"image_size": 8}
DIGITS: dict[str, Any] = {"image_size": 8, "channels": 1}
CLASSES: dict[str, Any] = {"image_size": 8, "ycond": True, "n_y": 3}


def make_run(folder: Path, *, polyak: bool, model: bool = True, **fields) -> glow_tf.Glow:
    """A run's folder as training leaves it: two checkpoints, and model/ unless told otherwise."""
    glow = random_glow(**fields)
    variables = glow.named_variables()
    trainable = {name: variable for name, variable in variables.items() if variable.trainable}
    average = {name: tf.Variable(0.5 * variable) for name, variable in trainable.items()}
    train = TrainConfig(problem="digits", polyak=polyak)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model": glow.config.to_dict(), "train": train.to_dict()}))
    for step in (3, 7):
        groups = {"weights": variables, "optimizer": {"t": tf.Variable(step)}, "average": average}
        checkpoints.save(folder / "checkpoints", groups, {"step": step})
    if model:
        glow_tf.save(glow, folder / "model", average if polyak else None)
    return glow


@pytest.fixture(autouse=True)
def no_progress(monkeypatch) -> None:
    """On a slow machine there would be lines on stderr that say how far it is."""
    monkeypatch.setattr("data_loaders.progress.SECONDS", float("inf"))


@pytest.fixture
def untraced() -> Iterator[None]:
    """For commands whose lines and files are the subject; test_export.py runs each of them as users do."""
    with eagerly():
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """rgb, classes: saved models; run: a run on the digits; none of them to be changed."""
    folder = tmp_path_factory.mktemp("models")
    glow_tf.save(random_glow(**RGB), folder / "rgb")
    glow_tf.save(random_glow(**CLASSES), folder / "classes")
    glow_tf.save(perturb(random_glow(**CLASSES, weight_y=0.1)), folder / "classifier")
    make_run(folder / "run", polyak=False, **DIGITS)
    return folder


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three RGB images of 8x8."""
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    for name, image in zip("abc", pixels, strict=True):
        Image.fromarray(image).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def glow(capsys, tmp_path, monkeypatch):
    """Runs a command in tmp_path; returns what it printed, and fails unless it went well."""
    monkeypatch.chdir(tmp_path)

    def run(*words) -> str:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


@pytest.fixture
def error(capsys, tmp_path, monkeypatch):
    """Runs a command that must fail with code 2 and one line; returns the line."""
    monkeypatch.chdir(tmp_path)

    def run(*words) -> str:
        code: Any
        try:
            code = main([str(word) for word in words])
        except SystemExit as exit:
            code = exit.code
        err = capsys.readouterr().err
        lines = [line for line in err.splitlines() if not line.startswith("python -m glow_tf: warning: ")]
        assert code == 2, err
        assert len(lines) == 1, err
        assert lines[0].startswith("python -m glow_tf: error: ")
        return lines[0].removeprefix("python -m glow_tf: error: ")

    return run


def frames(path: Path) -> tuple[int, tuple[int, int]]:
    """How many images an animation has, and their (width, height)."""
    with Image.open(path) as animation:
        return getattr(animation, "n_frames", 1), animation.size


def picture(path: Path) -> np.ndarray:
    """The pixels of a picture that was written."""
    with Image.open(path) as image:
        image.load()
        return np.asarray(image)
