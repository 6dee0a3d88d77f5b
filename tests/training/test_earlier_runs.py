"""A run that an earlier version wrote is resumed, and becomes what that version made of it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from glow_tf.training import train
from tests.tolerances import RANKS
from tests.training.common import final_arrays

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run"


def test_an_earlier_run_is_resumed_to_the_same_numbers(tmp_path):
    with zipfile.ZipFile(FIXTURE / "run.zip") as archive:
        archive.extractall(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    start = {name: array.copy() for name, array in final_arrays(tmp_path).items()}
    result = train(config["model"], {**config["train"], "logdir": str(tmp_path), "steps": 0, "resume": True})
    assert result.steps == 12
    resumed = final_arrays(tmp_path)
    with np.load(FIXTURE / "later.npz") as later:
        assert set(later.files) == set(resumed)
        for name in later.files:
            array = np.asarray(later[name], np.float64)
            difference, scale = np.abs(array - resumed[name]).max(initial=0), np.abs(array).max(initial=0)
            assert difference <= RANKS["whole run"][0] * scale, (name, difference, scale)
    moved = [name for name, array in resumed.items() if (array != start[name]).any()]
    assert len(moved) > 0.9 * len(start)
    for log in ("train.txt", "test.txt"):
        paths = (FIXTURE / f"later_{log}", tmp_path / log)
        lines = [[json.loads(line) for line in path.read_text().splitlines()[1:]] for path in paths]
        assert len(lines[0]) == len(lines[1]) > 1
        for theirs, ours in zip(*lines, strict=True):
            assert ours.keys() == theirs.keys()
            for key in ours.keys() - {"train_time"}:
                assert float(ours[key]) == pytest.approx(float(theirs[key]), abs=2e-4), (log, key)
