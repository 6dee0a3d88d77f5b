"""Real processes: signals, and two workers under horovodrun."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.common import assert_same_run, final_arrays, start

pytestmark = pytest.mark.slow
HOROVODRUN = shutil.which("horovodrun", path=str(Path(sys.executable).parent)) or shutil.which("horovodrun")


def finish(process, seconds=240):
    output, _ = process.communicate(timeout=seconds)
    return output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_resumed_run_is_the_same(tmp_path, number, code):
    settings: dict[str, Any] = {"epochs": 40, "checkpoint_steps": 50, "epochs_full_valid": 20}
    process = start(tmp_path / "stopped", **settings)
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
    assert last.startswith(f"stopped by {number.name} after step") and last.endswith("--resume goes on")
    assert "Traceback" not in said
    assert (tmp_path / "stopped/model/weights.npz").exists()
    resumed = start(tmp_path / "stopped", resume=True, **settings)
    assert "from step" in finish(resumed) and resumed.returncode == 0
    whole = start(tmp_path / "whole", **settings)
    finish(whole)
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_killed_without_warning(tmp_path):
    settings: dict[str, Any] = {"epochs": 40, "checkpoint_steps": 3}
    process = start(tmp_path, **settings)
    for line in process.stdout or ():
        if line.startswith("epoch 3:"):
            process.kill()
            break
    process.wait()
    assert not (tmp_path / "exit_code").exists()
    resumed = start(tmp_path, resume=True, **settings)
    said = finish(resumed)
    assert resumed.returncode == 0 and "from step" in said and "skipped" not in said
    epochs = [json.loads(line).get("epoch") for line in (tmp_path / "train.txt").read_text().splitlines()[1:]]
    assert epochs == list(range(1, 41))


@pytest.mark.skipif(
    HOROVODRUN is None or importlib.util.find_spec("horovod") is None, reason="Horovod is not installed (make env)"
)
def test_two_workers(tmp_path):
    launcher = (HOROVODRUN, "-np", "2")
    process = start(tmp_path / "two", launcher, n_batch_train=8)
    said = finish(process)
    assert process.returncode == 0, said
    assert "2 worker(s) with 8 images a step, 4 steps an epoch" in said
    lines = [json.loads(line) for line in (tmp_path / "two/train.txt").read_text().splitlines()]
    assert [line["n_images"] for line in lines[1:]] == [64, 128, 192]
    alone = start(tmp_path / "one")
    finish(alone)
    one, two = final_arrays(tmp_path / "one"), final_arrays(tmp_path / "two")
    assert set(one) == set(two)
    assert all(np.isfinite(array).all() for array in two.values())
    tests = [
        float(json.loads((tmp_path / run / "test.txt").read_text().splitlines()[-1])["bits_x"])
        for run in ("one", "two")
    ]
    assert tests[0] == pytest.approx(tests[1], abs=0.1)  # other dequantisation noise, the same images
