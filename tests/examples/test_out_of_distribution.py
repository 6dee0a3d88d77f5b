"""The example of likelihoods out of distribution, at a small size."""

from __future__ import annotations

import numpy as np
import pytest

import data_loaders
from glow_tf.examples import out_of_distribution
from glow_tf.examples.out_of_distribution import draw, main, read_scores, separation
from tests.commands.conftest import make_run, picture
from tests.commands.test_openai_graph import photos_in

pytestmark = pytest.mark.usefixtures("untraced_module")


def test_separation_is_the_share_of_pairs():
    random = np.random.default_rng(0)
    own, other = random.integers(0, 9, 40).astype(float), random.integers(3, 12, 30).astype(float)
    pairs = np.sign(other[np.newaxis] - own[:, np.newaxis])
    assert separation(own, other) == pytest.approx((pairs.mean() + 1) / 2)
    assert separation(np.arange(3.0), np.arange(3.0) + 5) == 1
    assert separation(np.arange(3.0) + 5, np.arange(3.0)) == 0


def test_both_histograms_have_every_image():
    axis = draw({"a": np.arange(10.0), "b": np.full(4, 3.0)}).axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a: mean 4.50", "b: mean 3.00"]
    width = axis.patches[0].get_width()
    areas = [sum(bar.get_height() for bar in bars) * width for bars in (axis.patches[:60], axis.patches[60:])]
    assert areas == pytest.approx([1, 1])


def test_two_data_sets_on_a_run_that_is_there(tmp_path, capsys):
    make_run(tmp_path / "run", polyak=False, image_size=8)
    own, other = (photos_in(tmp_path / name) for name in ("own", "other"))
    words = ["--problem", "folder", "--data_dir", str(own), "--other", "folder", "--other_dir", str(other)]
    assert main([str(tmp_path / "run"), *words, "--out", str(tmp_path / "a" / "ood")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "histograms.png: in 50.0% of pairs the image" in lines[-1]
    n = data_loaders.load("folder", data_dir=str(own), image_size=8).n_test
    assert len(read_scores(tmp_path / "a/ood/own.csv")) == len(read_scores(tmp_path / "a/ood/other.csv")) == n
    assert picture(tmp_path / "a/ood/histograms.png").ndim == 3
    words[-2:] = ["--other_dir", str(tmp_path / "gone")]
    assert main([str(tmp_path / "run"), *words, "--out", str(tmp_path / "a" / "ood")]) == 2


@pytest.mark.slow
def test_a_run_is_trained_where_there_is_none(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(out_of_distribution, "MODEL", {**out_of_distribution.MODEL, "n_levels": 1, "width": 8})
    words = ["--problem", "digits", "--other", "digits", "--image_size", "8", "--epochs", "1", "--n_train", "64"]
    assert main([str(tmp_path / "run"), *words, "--n", "8", "--out", str(tmp_path / "ood")]) == 0
    assert (tmp_path / "run" / "checkpoints").is_dir()
    assert "in 50.0% of pairs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--other", "digits", "--out", f"{__file__}/x"], "is a file; a folder is needed"),
        (["--other", "digits", "--problem", "svhn"], "svhn"),
        ([], "--other"),
    ],
)
def test_wrong_arguments(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "run"), *words])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
