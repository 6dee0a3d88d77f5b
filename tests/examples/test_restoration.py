"""The example of colouring and enlarging, at a small size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from glow_tf.examples.restoration import main, restore
from tests.commands.conftest import make_run
from tests.eagerly import eagerly
from tests.random_weights import random_glow, random_images


@eagerly()
def test_rows_and_figures():
    glow = random_glow(image_size=8, context="grayscale")
    x = random_images(glow.config, 2)
    rows, figures = restore(glow, x, answers=3, temperature=0.7, seed=0)
    assert (rows.shape, rows.dtype) == ((5, 2, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(rows[0], x)
    np.testing.assert_array_equal(rows[1, ..., 0], rows[1, ..., 2])
    assert np.isfinite(list(figures.values())).all()
    assert figures["bits/dim given its own context"] != figures["given another's"]
    assert figures["spread of the answers"] > 0


def test_command(tmp_path, capsys):
    make_run(tmp_path / "run", polyak=False, image_size=8, channels=1, context="downsampled:2")
    main([str(tmp_path / "run"), "--images", "3", "--answers", "2", "--out", str(tmp_path / "rows.png")])
    said = capsys.readouterr().out
    assert "given another's" in said
    with Image.open(tmp_path / "rows.png") as picture:
        assert picture.size == (3 * 36 - 4, 4 * 36 - 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "a model is needed that was trained with --context"),
        (["none"], "none"),
        (["run", "--images", "1"], "'1': a whole number of at least 2"),
        (["run", "--temperature", "-1"], "a number of at least 0"),
    ],
)
def test_wrong_arguments(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run", polyak=False, image_size=8, channels=1)
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
