"""python -m glow_tf evaluate."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

import data_loaders
import glow_tf
from tests.commands.conftest import DIGITS, make_run

pytestmark = pytest.mark.usefixtures("untraced")


def numbers(text):
    found = re.search(r"([\d.]+) \+- ([\d.]+) bits/dim", text)
    assert found, text
    return float(found[1]), float(found[2])


def test_mean_and_standard_error_with_the_run_s_own_data(glow, models):
    said = glow("evaluate", models / "run", "--n", 20, "--seed", 5)
    data = data_loaders.load("digits")
    x, _ = next(iter(data.test_batches(20)))
    noise = np.random.default_rng(5).random(x.shape, np.float32) / np.float32(256)
    bits = glow_tf.load(models / "run" / "model").bits_per_dim(x, None, noise).numpy().astype(np.float64)
    assert numbers(said) == pytest.approx((bits.mean(), bits.std(ddof=1) / np.sqrt(20)), abs=1e-4)
    assert "digits test" in said
    assert "raw weights after step 7" in said


def test_a_csv_of_every_image(glow, models, tmp_path):
    said = glow("evaluate", models / "run", "--n", 12, "--batch", 5, "--out", "new/scores.csv")
    with (tmp_path / "new" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["image"]) for row in rows] == list(range(12))
    bits = np.array([float(row["bits_per_dim"]) for row in rows])
    assert numbers(said) == pytest.approx((bits.mean(), bits.std(ddof=1) / np.sqrt(12)), abs=1e-4)
    data = data_loaders.load("digits")
    assert [int(row["label"]) for row in rows] == data.labels("test")[:12].tolist()
    x, _ = next(iter(data.test_batches(12)))
    noise = np.random.default_rng(0).random(x.shape, np.float32) / np.float32(256)
    wanted = glow_tf.load(models / "run" / "model").bits_per_dim(x, None, noise)
    np.testing.assert_allclose(bits, wanted, atol=1e-4)


def test_the_batch_does_not_matter(glow, models):
    a, b = (numbers(glow("evaluate", models / "run", "--n", 20, "--batch", batch)) for batch in (6, 20))
    assert a == pytest.approx(b, abs=2e-4)


def test_the_training_split(glow, models):
    assert "digits train" in glow("evaluate", models / "run", "--split", "train", "--n", 5)


def test_one_image_has_no_standard_error(glow, models):
    assert "+-" not in glow("evaluate", models / "run", "--n", 1)


def test_a_saved_model_needs_a_problem(glow, error, models, photos):
    assert "give --problem" in error("evaluate", models / "rgb")
    said = glow("evaluate", models / "rgb", "--problem", "folder", "--data_dir", photos)
    assert "folder test" in said


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--problem", "svhn"], "'svhn'; there are: digits"),
        (["--problem", "folder"], "needs --data_dir"),
        (["--problem", "digits"], r"is for images (8, 8, 3), digits has (8, 8, 1)"),
        (["--problem", "folder", "--data_dir", "nowhere"], "no folder nowhere"),
        (["--problem", "digits", "--out", "scores.txt"], "--out scores.txt: the name must end in .csv"),
        (["--split", "valid"], "invalid choice: 'valid'"),
    ],
)
def test_wrong_data(error, models, words, what):
    assert what in error("evaluate", models / "rgb", *words)


def test_classes_and_the_classifier_s_errors(glow, error, models, tmp_path, photos):
    for name, label in zip("abc", "xyz", strict=True):
        for number in range(3):
            (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / label / f"{number}.png").write_bytes((photos / f"{name}.png").read_bytes())
    words = ["--problem", "folder", "--data_dir", tmp_path / "data", "--split", "train"]
    assert "% classified wrong" in glow("evaluate", models / "classifier", *words)
    (tmp_path / "data" / "z").rename(tmp_path / "gone")
    assert "is for 3 classes, folder has 2" in error("evaluate", models / "classifier", *words)


def test_a_broken_model(error, tmp_path):
    make_run(tmp_path / "run", polyak=False, model=True, **DIGITS)
    model = glow_tf.load(tmp_path / "run" / "model")
    model.named_variables()["prior/p/b"].assign_add(np.full(model.named_variables()["prior/p/b"].shape, np.nan))
    glow_tf.save(model, tmp_path / "broken")
    said = error("evaluate", tmp_path / "broken", "--problem", "digits", "--n", 2)
    assert "image 0 is not finite" in said


def test_data_that_has_moved(error, tmp_path):
    make_run(tmp_path / "run", polyak=False, model=False, **DIGITS)
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    config["train"]["problem"], config["train"]["image_dir"] = "folder", "/gone"
    path.write_text(json.dumps(config))
    assert "no folder /gone, where the data should be: give --data_dir" in error("evaluate", tmp_path / "run")
