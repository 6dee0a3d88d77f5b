"""Short versions of what is run at length for docs/reliability.md."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from tests.forked import Forked
from tests.reliability.entrances import ENTRANCES
from tests.reliability.undo import undo
from tests.training.jobs import needs_horovod

pytestmark = pytest.mark.slow


def run(*command, seconds=400):
    process = Forked("-m", *command)
    said, _ = process.communicate(seconds)
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=needs_horovod)])
def test_killed_and_resumed_runs_are_the_same_run(tmp_path, ranks):
    kills = 3 - ranks
    said = run(
        "tests.reliability.kills",
        "--ranks",
        str(ranks),
        "--kills",
        str(kills),
        "--steps",
        "80",
        "--seconds",
        "0.1",  # a life of so few steps is short
        "--folder",
        str(tmp_path),
    )
    figures = json.loads(said.splitlines()[-1])
    assert figures["kills"] == kills and figures["checkpoints lost"] == 0 and figures["all equal"]
    assert figures["log lines compared"] == 20 + 2


def test_corrupted_inputs_end_in_clear_errors(tmp_path):
    """Some of every entrance, the same ones each time."""
    run("tests.reliability.fuzz", "--inputs", "400", "--json", str(tmp_path / "figures.json"))
    rows = json.loads((tmp_path / "figures.json").read_text())
    assert [row["entrance"] for row in rows] == list(ENTRANCES)
    for row in rows:
        assert row["failed"] == 0 and row["refused"] > 0, row


@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_undone_step_by_step_is_undone(coupling):
    glow = glow_tf.Glow({"image_size": 8, "n_levels": 1, "depth": 3, "width": 4, "flow_coupling": coupling})
    for variable in glow.trainable_variables:
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [1, 2]))
    z = tf.random.stateless_normal([2, 4, 4, 12], [3, 4])
    rows = undo(glow, z)
    x, _ = glow.levels[0].inverse(z)
    assert len(rows) == 3
    np.testing.assert_allclose(rows[-1]["largest"], np.abs(x).max(), rtol=1e-5)  # products in another order
    smallest = [row["smallest scale"] for row in rows]
    assert all(s == 1 for s in smallest) if coupling == "additive" else all(0.5 < s < 0.88 for s in smallest)
