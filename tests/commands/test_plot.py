"""python -m glow_tf plot."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from glow_tf.commands.plot import Curve, draw, read_curves
from tests.commands.conftest import picture


@pytest.fixture
def run(tmp_path):
    """A function that writes a run's logs."""

    def make(name, test=(8.5, 8.1), train=(8.4, 8.2, 8.0)):
        folder = tmp_path / name
        folder.mkdir()
        for split, values in {"test": test, "train": train}.items():
            lines = [json.dumps({"lr": 0.001, "problem": "digits"})]
            for epoch, bits in enumerate(values, 1):
                entry = {"epoch": epoch, "n_processed": 64 * epoch, "n_images": 60 * epoch, "train_time": 2}
                lines.append(json.dumps({**entry, "loss": "9.0000", "bits_x": f"{bits:.4f}", "pred_loss": "0.5000"}))
            (folder / f"{split}.txt").write_text("\n".join([*lines, ""]))
        return folder

    return make


def test_the_logs_numbers_by_epoch_and_by_images(run):
    folder = run("a")
    assert read_curves(folder, "bits_x", "epoch") == [
        Curve(folder, "test", [1, 2], [8.5, 8.1]),
        Curve(folder, "train", [1, 2, 3], [8.4, 8.2, 8.0]),
    ]
    assert read_curves(folder, "pred_loss", "images")[0] == Curve(folder, "test", [60, 120], [0.5, 0.5])


def test_several_runs_in_one_picture_of_as_many_colours(run, glow, tmp_path):
    folders = [run("a"), run("b", test=(9.0,), train=(9.1,)), run("c", test=())]
    said = glow("plot", *folders, "--out", tmp_path / "new" / "folder" / "p.png")
    assert "3 run(s)" in said and f"{folders[0]} 8.1000, {folders[1]} 9.0000\n" in said
    assert np.unique(picture(tmp_path / "new/folder/p.png").reshape(-1, 4), axis=0).shape[0] > 3
    curves = [curve for folder in folders for curve in read_curves(folder, "bits_x", "epoch")]
    lines = draw(curves, "epoch", "bits/dim").axes[0].lines
    assert [line.get_label() for line in lines[:2]] == [f"{folders[0]}, test", f"{folders[0]}, train"]
    assert [line.get_color() for line in lines] == ["C0", "C0", "C1", "C1", "C2"]
    np.testing.assert_array_equal(lines[1].get_ydata(), [8.4, 8.2, 8.0])


def test_a_line_that_is_being_written_is_left_out(run):
    folder = run("a")
    with (folder / "test.txt").open("a") as file:
        file.write('{"epoch": 3, "bits')
    assert read_curves(folder, "bits_x", "epoch")[0].x == [1, 2]


def test_what_is_no_run(run, error, tmp_path, monkeypatch):
    assert "no run in this folder (there is no test.txt)" in error("plot", tmp_path)
    assert "has no results yet" in error("plot", run("empty", test=(), train=()))
    folder = run("damaged")
    text = (folder / "train.txt").read_text().replace('"8.2000"', '"?"')
    (folder / "train.txt").write_text(text)
    assert f"{folder / 'train.txt'}: line 3 is no result" in error("plot", folder)
    assert "line 2 is no result" in error("plot", run("c"), "--metric", "bits_y")
    assert "must end in .png" in error("plot", folder, "--out", "x.pdf")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'glow_tf[experiments]'" in error("plot", run("d"))
