"""python -m glow_tf sample."""

from __future__ import annotations

import numpy as np
import pytest

import glow_tf
from glow_tf.commands import main
from tests.commands.conftest import picture

pytestmark = pytest.mark.usefixtures("untraced")


def tiles(path, scale=1, side=8):
    """[rows, columns, side, side, C] of a grid."""
    pixels = picture(path)[::scale, ::scale]
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    return pixels.reshape(rows, side, columns, side, -1).swapaxes(1, 2)


def test_the_picture_is_what_the_model_samples(glow, models, tmp_path):
    said = glow("sample", models / "rgb", "--n", 5, "--temperature", 0.6, "--seed", 3, "--scale", 1, "--out", "s.png")
    wanted = glow_tf.load(models / "rgb").sample(5, temperature=0.6, seed=3).numpy()
    grid = tiles(tmp_path / "s.png")
    assert grid.shape[:2] == (2, 3)
    np.testing.assert_array_equal(grid.reshape(6, 8, 8, 3)[:5], wanted)
    assert not grid[1, 2].any()
    assert "5 samples" in said
    assert "weights of" in said


def test_the_batch_does_not_matter(glow, models, tmp_path):
    for batch in (1, 16):
        glow("sample", models / "rgb", "--n", 4, "--batch", batch, "--out", f"{batch}.png")
    assert np.abs(picture(tmp_path / "1.png").astype(int) - picture(tmp_path / "16.png")).max() <= 1


def test_several_temperatures_are_rows_of_the_same_latents(glow, models, tmp_path):
    glow("sample", models / "rgb", "--n", 3, "--temperature", 0, 0.5, 1, "--scale", 1, "--out", "s.png")
    grid = tiles(tmp_path / "s.png")
    assert grid.shape[:2] == (3, 3)
    np.testing.assert_array_equal(grid[0, 0], grid[0, 1])
    wanted = glow_tf.load(models / "rgb").sample(3, temperature=0.5, seed=0).numpy()
    assert np.abs(grid[1].astype(int) - wanted).max() <= 1


def test_a_folder_of_single_images(glow, models, tmp_path, monkeypatch):
    """As many as wanted, drawn in parts: the first part is what a picture shows."""
    wanted = glow_tf.load(models / "rgb").sample(3, temperature=0.6, seed=3).numpy()
    monkeypatch.setattr("glow_tf.commands.sample._CHUNK", 3)
    words = ["sample", models / "rgb", "--n", 7, "--temperature", 0.6, "--seed", 3, "--out", "a/b"]
    for batch in (2, 5):
        assert "a/b: 7 samples, temperature 0.6" in glow(*words, "--batch", batch)
    names = sorted(path.name for path in (tmp_path / "a/b").iterdir())
    assert names == [f"{i:05d}.png" for i in range(7)]
    images = np.stack([picture(tmp_path / "a/b" / name) for name in names])
    assert np.abs(images[:3].astype(int) - wanted).max() <= 1
    assert len(np.unique(images.reshape(7, -1), axis=0)) == 7


def test_a_folder_for_each_temperature_and_classes_in_turn(glow, models, tmp_path):
    glow("sample", models / "classes", "--n", 4, "--temperature", 0, 0.7, "--out", "out")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("00003.png")) == [
        "out/T0.00/00003.png", "out/T0.70/00003.png"
    ]  # fmt: skip
    cold = [picture(tmp_path / f"out/T0.00/{i:05d}.png") for i in range(4)]
    np.testing.assert_array_equal(cold[0], cold[3])  # three classes
    assert (cold[0] != cold[1]).any()


def test_tiny_images_are_enlarged(glow, models, tmp_path):
    glow("sample", models / "rgb", "--n", 1)
    assert picture(tmp_path / "samples.png").shape == (32, 32, 3)


def test_classes_are_the_columns(glow, models, tmp_path):
    glow("sample", models / "classes", "--n", 6, "--columns", 3, "--temperature", 0, "--scale", 1, "--out", "all.png")
    glow("sample", models / "classes", "--n", 2, "--label", 1, "--temperature", 0, "--scale", 1, "--out", "one.png")
    every, one = tiles(tmp_path / "all.png"), tiles(tmp_path / "one.png")
    np.testing.assert_array_equal(every[0], every[1])
    assert (every[0, 0] != every[0, 1]).any()
    np.testing.assert_array_equal(every[0, 1], one[0, 1])


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--temperature", "hot"], "'hot': a number of at least 0"),
        (["--temperature", "-1"], "a number of at least 0"),
        (["--temperature", "nan"], "a number of at least 0"),
        (["--n", "0"], "'0': a whole number of at least 1"),
        (["--n", "9000000"], "more than 268435456 pixels"),
        (["--label", "1"], "not class-conditional"),
        (["--columns", "2", "--temperature", "0", "1"], "--columns is for one temperature"),
        (["--out", "other"], "other holds other images, such as other/cat.png"),
        (["--out", "file/x.png"], "file is a file; a folder is needed"),
        (["--out", "file"], "file is a file; a folder is needed"),
        (["--out", "singles", "--columns", "2"], "--columns is for one picture"),
        (["--sed", "1"], "unrecognized arguments: --sed 1"),
        (["--polyak"], "holds one set of weights"),
    ],
)
def test_wrong_arguments(error, models, tmp_path, words, what):
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "cat.png").write_text("")
    assert what in error("sample", models / "rgb", *words)


def test_a_class_that_the_model_has_not(error, models):
    assert "classes 0 to 2" in error("sample", models / "classes", "--label", "3")


def test_images_that_left_float32_are_counted(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", str(models / "rgb"), "--n", "3", "--temperature", "0.5", "3e38"]) == 0
    err = capsys.readouterr().err
    assert "3 of 6 images left float32" in err and "temperature" in err
    assert main(["sample", str(models / "rgb"), "--n", "3"]) == 0
    assert "float32" not in capsys.readouterr().err
