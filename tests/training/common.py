"""A run that takes seconds: the digits, a tiny model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from glow_tf.storage import checkpoints
from tests.forked import ENVIRONMENT, REPOSITORY, Forked

MODEL: dict[str, Any] = {"image_size": 8, "n_levels": 1, "depth": 2, "width": 8, "flow_coupling": 1, "learntop": True}
TRAIN: dict[str, Any] = {
    "problem": "digits",
    "anchor_size": 8,
    "n_batch_train": 16,
    "n_batch_test": 64,
    "n_batch_init": 32,
    "n_train": 64,  # 4 steps an epoch
    "n_test": 70,
    "epochs": 3,
    "epochs_warmup": 1,
    "polyak_epochs": 10,  # with 1, beta2 is 0.75 and below beta1: the optimizer diverges within 100 steps
    "epochs_full_valid": 2,
}


def flags(logdir: Path, **changes: Any) -> list[str]:
    """The same as flags of train.py."""
    values = {**MODEL, **TRAIN, "logdir": logdir, **changes}
    arguments = []
    for name, value in values.items():
        if value is not False:
            arguments += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return arguments


def start(logdir: Path, **changes: Any) -> subprocess.Popen[str]:
    """A process of its own from the beginning: train.py with these flags."""
    command = [sys.executable, "-u", "train.py", *flags(logdir, **changes)]
    environment, pipe = {**os.environ, **ENVIRONMENT}, subprocess.PIPE
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def train_forked(logdir: Path, **changes: Any) -> str:
    """What train.py with these flags says in a forked process, which must end well."""
    process = Forked("train.py", *flags(logdir, **changes))
    said, _ = process.communicate(240)
    assert process.returncode == 0, said
    return said


def final_arrays(logdir: Path) -> dict[str, np.ndarray]:
    """Everything that the newest checkpoint holds."""
    newest = checkpoints.list_checkpoints(logdir / "checkpoints")[-1]
    arrays = {}
    for stem in ("weights", "optimizer", "average"):
        with np.load(newest / f"{stem}.npz", allow_pickle=False) as stored:
            arrays.update({f"{stem}/{name}": stored[name] for name in stored.files})
    return arrays


def assert_same_run(one: Path, other: Path) -> None:
    """Bit-equal weights, moments and averages, and equal logs but for the times."""
    first, second = final_arrays(one), final_arrays(other)
    assert set(first) == set(second)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)
    for log in ("train.txt", "test.txt"):
        lines = [[_timeless(line) for line in (run / log).read_text().splitlines()[1:]] for run in (one, other)]
        assert lines[0] == lines[1]


def _timeless(line: str) -> dict[str, object]:
    import json

    entry = json.loads(line)
    entry.pop("train_time", None)
    return entry
