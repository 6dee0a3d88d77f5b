"""docs/tour.ipynb runs from its first cell to its last, and shows what it showed when it was last executed."""

import json
from pathlib import Path
from typing import Any

import pytest

import glow_tf
from tests.eagerly import eagerly
from tests.notebooks import execute

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tour.ipynb"


def kinds(notebook):
    """For every code cell, the kinds of its outputs."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [[output["output_type"] for output in cell["outputs"]] for cell in cells]


@pytest.mark.slow
def test_the_tour_runs_and_has_its_outputs(tmp_path, monkeypatch):
    """On a class-conditional model of the digits, trained for one epoch."""
    from glow_tf.training import train

    model: dict[str, Any] = {"image_size": 8, "n_levels": 2, "depth": 2, "width": 16, "n_bits_x": 4, "learntop": True}
    model |= {"ycond": True, "flow_coupling": "affine"}
    settings = {"problem": "digits", "logdir": str(tmp_path / "runs/digits"), "anchor_size": 8, "n_train": 64}
    with eagerly():
        train(model, {**settings, "epochs": 1, "polyak_epochs": 10, "memory": "store"})
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert kinds(execute(notebook)) == kinds(notebook)
    assert sum("display_data" in cell for cell in kinds(notebook)) == 6
    assert glow_tf.load(tmp_path / "runs/digits/model").initialized
