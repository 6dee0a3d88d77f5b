"""Elastic Horovod: a worker is killed, another one added, and the run is the one that it would be without Horovod."""

from __future__ import annotations

import json
import os
import re
import signal
import socket

import numpy as np
import pytest

from glow_tf.storage.checkpoints import list_checkpoints
from glow_tf.storage.files import StorageError, locked
from glow_tf.training import train
from tests.tolerances import RANKS
from tests.training.common import MODEL, TRAIN, final_arrays, flags
from tests.training.jobs import launch, needs_horovod, pid_of, wait_for

pytestmark = [pytest.mark.slow, needs_horovod]


def test_a_worker_is_killed_another_joins_and_takes_over(tmp_path, undrawn):
    """Two workers, then one, two again, and the one that joined: batches of 16, 8, 16 and 8 images.

    It goes on from the last commit each time. Rank 1 is killed, and then rank 0, which has the lock of the folder and
    writes logs and checkpoints.
    """
    hosts, script, logdir = tmp_path / "hosts", tmp_path / "hosts.sh", tmp_path / "elastic"
    hosts.write_text("localhost:1\n127.0.0.1:1\n")  # Horovod gives up the host of a worker that dies, so two names
    script.write_text(f"#!/bin/sh\ncat {hosts}\n")
    script.chmod(0o755)
    settings = {"commit_steps": 3, "epochs": 10_000, "epochs_full_valid": 8, "epochs_full_sample": 1000, "steps": 200}
    options = ("--min-np", "1", "--max-np", "2", "--network-interface", "lo", "--host-discovery-script", str(script))
    process = launch(2, "train.py", *flags(logdir, **settings, n_batch_train=8), options=options)
    said = wait_for(process, "epoch 2:")
    assert "2 worker(s) with 8 images a step, 4 steps an epoch; from the beginning" in said
    os.kill(pid_of(1, str(logdir)), signal.SIGKILL)
    alone = begins(process, 1)
    first = pid_of(0, str(logdir))
    with hosts.open("a") as file:
        file.write(f"{socket.gethostname()}:1\n")
    joined = begins(process, 2)
    wait_for(process, ": train bits/dim")
    second = pid_of(1, str(logdir))
    os.kill(first, signal.SIGKILL)
    taken_over = begins(process, 1)
    with pytest.raises(StorageError, match=f"process {second} "), locked(logdir, "logdir"):
        pass
    said, _ = process.communicate(240)
    assert process.returncode == 0, said
    assert (logdir / "exit_code").read_text() == "0\n"
    epochs = [json.loads(line)["epoch"] for line in (logdir / "train.txt").read_text().splitlines()[1:]]
    assert epochs == sorted(set(epochs)) and epochs[0] == 1
    assert list_checkpoints(logdir / "checkpoints")[-1].name.startswith("000000200")

    reference = tmp_path / "reference"
    for batch, steps in ((16, alone), (8, joined), (16, taken_over), (8, 200)):
        if reference.exists():  # one process takes the batches of all workers
            config = json.loads((reference / "config.json").read_text())
            config["train"]["n_batch_train"] = batch
            (reference / "config.json").write_text(json.dumps(config))
        there = {**TRAIN, **settings, "steps": steps, "n_batch_train": batch, "logdir": str(reference)}
        train(MODEL, {**there, "resume": reference.exists()})
    one, elastic = final_arrays(reference), final_arrays(logdir)
    assert set(one) == set(elastic)
    for name, array in one.items():
        array = np.asarray(array, np.float64)
        difference, scale = np.abs(array - elastic[name]).max(initial=0), np.abs(array).max(initial=0)
        assert difference <= RANKS["whole run"][0] * scale, (name, difference, scale)
    for log in ("train.txt", "test.txt"):
        lines = [[json.loads(x) for x in (run / log).read_text().splitlines()[1:]] for run in (reference, logdir)]
        assert len(lines[0]) == len(lines[1]) > 0
        for ours, theirs in zip(*lines, strict=True):
            for key in ours.keys() - {"train_time"}:
                assert float(ours[key]) == pytest.approx(float(theirs[key]), abs=2e-4), (log, key)


def begins(process, workers):
    """The step from which the job goes on with so many workers."""
    said, epoch = wait_for(process, f" {workers} worker(s)"), 8 // workers
    found = re.search(rf"{workers} worker.s. with 8 images a step, {epoch} steps an epoch; from step (\d+) to", said)
    assert found, said
    return int(found[1])
