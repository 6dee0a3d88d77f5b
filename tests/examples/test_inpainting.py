"""The example of inpainting, at a small size."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import glow_tf
from glow_tf.bijectors import GlowDistribution
from glow_tf.examples.inpainting import degrade, held_out_digits, main, restore, sample_posterior
from tests.random_weights import random_glow


@pytest.fixture(scope="module")
def glow():
    """A class-conditional model of digits, untrained."""
    return random_glow(
        image_size=8, channels=1, n_levels=1, depth=1, width=4, ycond=True, n_y=10, n_bits_x=4, scale=0.02
    )


STEPS = {"chains": 3, "burn_in": 5, "draws": 2, "seed": 0}


def test_degrading():
    x = tf.zeros([4, 8, 8, 1])
    seen = degrade(x, "inpainting", 0)
    np.testing.assert_array_equal(seen.known[:, :, :4], 1)
    np.testing.assert_array_equal(seen.known[:, :, 4:], 0)
    assert np.std(seen.values) == pytest.approx(0.03, rel=0.2)
    assert np.std(degrade(x, "denoising", 0).values) == pytest.approx(0.2, rel=0.2)
    assert np.all(degrade(x, "denoising", 0).known == 1)


def test_rows_and_figures(glow):
    x, labels = held_out_digits(glow, [3, 0])
    rows, figures = restore(glow, x, labels, "denoising", **STEPS)
    assert rows.shape == (6, 2, 8, 8, 1)
    assert rows.dtype == np.uint8
    np.testing.assert_array_equal(rows[0] / 256, x + 0.5 - 1 / 32)  # the lower bits are cut off
    assert len(figures) == 5
    assert np.isfinite(list(figures.values())).all()


def test_posterior_keeps_to_what_is_known(glow):
    """After enough steps the posterior's images agree with the known half, and the chains differ elsewhere."""
    x, labels = held_out_digits(glow, [0])
    seen = degrade(x, "inpainting", 0)
    distribution = GlowDistribution(glow, label=labels)
    images, accepted = sample_posterior(distribution, seen, chains=4, burn_in=150, draws=30, seed=0)
    assert images.shape == [30, 4, 1, 8, 8, 1]
    assert 0.4 < accepted < 0.99
    mean = np.mean(images, (0, 1))
    known = np.abs((mean - x)[:, :, :4])
    start = np.abs((GlowDistribution(glow, label=labels).bijector.forward(tf.zeros([1, 64])) - x)[:, :, :4])
    assert known.mean() < 0.25 * start.mean()
    assert np.std(images[-1], 0)[:, :, 4:].mean() > 2 * np.std(images[-1], 0)[:, :, :4].mean()


def test_command(glow, tmp_path, capsys):
    glow_tf.save(glow, tmp_path / "model")
    steps = ["--chains", "3", "--burn_in", "5", "--draws", "2"]
    out = tmp_path / "picture.png"
    main(["--model", str(tmp_path / "model"), "--images", "1", "2", "--out", str(out), *steps])
    picture = np.asarray(Image.open(out))
    assert picture.shape == (6 * (6 * 9 - 1), 6 * (2 * 9 - 1))
    assert np.all(picture[6 * 9 : 6 * 17, 6 * 4 : 6 * 8] == 128)  # what is hidden is grey
    assert "posterior mean" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--model", str(tmp_path / "model"), "--images", "5000"])
    assert "test images 0 to" in capsys.readouterr().err


def test_digits_of_another_model_or_number_are_refused(glow):
    with pytest.raises(ValueError, match="test images 0 to"):
        held_out_digits(glow, [10_000])
    other = random_glow(image_size=4, channels=1, n_levels=1, depth=1, width=2)
    with pytest.raises(ValueError, match=r"for images \(4, 4, 1\)"):
        held_out_digits(other, [0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--chains", "2"], "--chains: '2': a whole number of at least 3"),
        (["--draws", "0"], "--draws: '0'"),
        (["--burn_in", "0"], "--burn_in: '0'"),
        (["--images", "-1"], "--images: '-1'"),
        (["--seed", "-1"], "--seed: '-1'"),
        (["--out", f"{__file__}/x.png"], "is a file; a folder is needed"),
        (["--out", "picture.jpg"], "must end in .png"),
        ([], "there is no such folder"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "no/such/model", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
