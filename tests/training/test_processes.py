"""Real processes and signals."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from tests.forked import Forked
from tests.training.common import assert_same_run, flags, start, train_forked

pytestmark = pytest.mark.slow


def finish(process, seconds=240):
    output, _ = process.communicate(timeout=seconds)
    return output


SIGNALLED: dict[str, Any] = {"epochs": 40, "checkpoint_steps": 50, "epochs_full_valid": 20}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that no signal stopped."""
    logdir = tmp_path_factory.mktemp("runs") / "whole"
    train_forked(logdir, **SIGNALLED)
    return logdir


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_resumed_run_is_the_same(whole, tmp_path, number, code):
    if number == signal.SIGINT:  # one of the two is started as a shell does it
        process: Any = start(tmp_path / "stopped", **SIGNALLED)
    else:
        process = Forked("train.py", *flags(tmp_path / "stopped", **SIGNALLED))
    for line in process.stdout or ():
        if line.startswith("epoch 2:"):
            process.send_signal(number)
            break
    asked = time.monotonic()
    said = finish(process)
    assert process.returncode == code, said
    assert (tmp_path / "stopped/exit_code").read_text() == f"{code}\n"
    assert time.monotonic() - asked < 30
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"stopped by {number.name} after step") and last.endswith("--resume resumes it")
    assert "Traceback" not in said
    assert (tmp_path / "stopped/model/weights.npz").exists()
    assert "from step" in train_forked(tmp_path / "stopped", resume=True, **SIGNALLED)
    assert_same_run(whole, tmp_path / "stopped")


def test_killed_without_warning(tmp_path):
    settings: dict[str, Any] = {"epochs": 40, "checkpoint_steps": 3}
    process = Forked("train.py", *flags(tmp_path, **settings))
    for line in process.stdout:
        if line.startswith("epoch 3:"):
            process.kill()
            break
    process.wait()
    assert not (tmp_path / "exit_code").exists()
    said = train_forked(tmp_path, resume=True, **settings)
    assert "from step" in said and "skipped" not in said
    epochs = [json.loads(line).get("epoch") for line in (tmp_path / "train.txt").read_text().splitlines()[1:]]
    assert epochs == list(range(1, 41))
