"""Short versions of what is run at length for docs/reliability.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.reliability.entrances import ENTRANCES
from tests.training.common import REPOSITORY
from tests.training.jobs import needs_horovod

pytestmark = pytest.mark.slow


def run(*command, seconds=400):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=needs_horovod)])
def test_killed_and_resumed_runs_are_the_same_run(tmp_path, ranks):
    kills = 3 - ranks
    done = run(
        "tests.reliability.kills",
        "--ranks",
        str(ranks),
        "--kills",
        str(kills),
        "--steps",
        "160",
        "--seconds",
        "0.3",  # a life of so few steps is short
        "--folder",
        str(tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["kills"] == kills and figures["checkpoints lost"] == 0 and figures["all equal"]
    assert figures["log lines compared"] == 40 + 4


def test_spoilt_inputs_end_in_clear_errors(tmp_path):
    """Some of every entrance, the same ones each time."""
    done = run("tests.reliability.fuzz", "--inputs", "400", "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "figures.json").read_text())
    assert [row["entrance"] for row in rows] == list(ENTRANCES)
    for row in rows:
        assert row["failed"] == 0 and row["refused"] > 0, row
