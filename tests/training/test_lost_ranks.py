"""One rank of two fails, is killed, or is asked to stop: the job ends soon, says why, and can be resumed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from glow_tf.storage.checkpoints import list_checkpoints
from glow_tf.training import train
from tests.forked import ENVIRONMENT
from tests.tolerances import RANKS
from tests.training.common import MODEL, REPOSITORY, TRAIN, final_arrays, flags
from tests.training.jobs import HOROVODRUN, PATIENCE, forked, launch, needs_horovod, pid_of, run_forked, wait_for

pytestmark = [pytest.mark.slow, needs_horovod]


def test_a_killed_rank_ends_the_job_and_resuming_gives_the_run_of_one_process(tmp_path, undrawn):
    settings = {"n_batch_train": 8, "epochs": 10_000, "checkpoint_steps": 3, "dal": 2}
    logdir = tmp_path / "two"
    process = launch(2, "train.py", *flags(logdir, **settings))
    said = wait_for(process, "epoch 1:")
    assert "2 worker(s) with 8 images a step, 4 steps an epoch" in said
    os.kill(pid_of(1, str(logdir)), signal.SIGKILL)
    killed = time.monotonic()
    said, _ = process.communicate(60)
    assert time.monotonic() - killed < 60 and process.returncode == 1
    assert re.search(r"^Process 1 exit with status code 137", said, re.MULTILINE), said
    (reason,) = re.findall(r"train.py: error: (.*)", said)
    assert reason.startswith("rank 0 stops because another one has failed or was killed")
    assert "]<stderr>:Traceback" not in said

    steps = int(list_checkpoints(logdir / "checkpoints")[-1].name.split("-")[0]) + 6
    assert "from step" in run_forked(2, "train.py", *flags(logdir, **settings, steps=steps, resume=True))
    alone = tmp_path / "one"
    train(MODEL, {**TRAIN, **settings, "n_batch_train": 16, "steps": steps, "logdir": str(alone)})
    one, two = final_arrays(alone), final_arrays(logdir)
    assert set(one) == set(two)
    for name, array in one.items():
        array = np.asarray(array, np.float64)  # there are a boolean and a counter too
        difference, scale = np.abs(array - two[name]).max(initial=0), np.abs(array).max(initial=0)
        assert difference <= RANKS["whole run"][0] * scale, (name, difference, scale)
    for log in ("train.txt", "test.txt"):  # means over all ranks, from which the order of the images does not show
        lines = [[json.loads(x) for x in (run / log).read_text().splitlines()[1:]] for run in (alone, logdir)]
        assert len(lines[0]) == len(lines[1]) > 0
        for ours, theirs in zip(*lines, strict=True):
            for key in ours.keys() - {"train_time"}:
                assert float(ours[key]) == pytest.approx(float(theirs[key]), abs=2e-4), (log, key)


def test_a_rank_that_fails_ends_the_job_with_its_error(tmp_path):
    process = launch(2, "tests/training/failing_rank.py", str(tmp_path / "run"))
    said, _ = process.communicate(120)
    assert process.returncode == 1
    assert "[1]<stderr>:RuntimeError: the third batch is damaged" in said
    assert "WorkerLostError: rank 0 stops because another one has failed or was killed" in said


def test_a_rank_that_is_asked_to_stop_stops_and_saves_the_job(tmp_path):
    with forked(2, "train.py", *flags(tmp_path, n_batch_train=8, epochs=10_000)) as processes:
        said = wait_for(processes[0], "epoch 1:")
        processes[1].send_signal(signal.SIGTERM)
        said += "".join(process.communicate(120)[0] for process in processes)
    assert [process.returncode for process in processes] == [143, 143] and "Traceback" not in said
    assert_saved(tmp_path, said)


@pytest.mark.skipif(shutil.which("pkill") is None, reason="pkill is not installed")
def test_a_batch_script_passes_the_signal_on(tmp_path):
    """As docs/clusters.md has it: horovodrun itself would leave the ranks five seconds."""
    pattern = "^[^ ]*python train.py"
    assert f"trap \"pkill -TERM -o -f '{pattern}'\" TERM" in (REPOSITORY / "docs/clusters.md").read_text()
    logdir = tmp_path / "run"
    command = shlex.join([sys.executable, "train.py", *flags(logdir, n_batch_train=8, epochs=10_000)])
    script = tmp_path / "job.sh"
    script.write_text(
        f"trap \"pkill -TERM -o -f '{pattern} .*{logdir}'\" TERM\n"  # of this run only
        f"{HOROVODRUN} --gloo -np 2 {command} &\nwait $!\nwait $!\n"
    )
    environment, pipe = {**os.environ, **ENVIRONMENT, **PATIENCE, "PYTHONUNBUFFERED": "1"}, subprocess.PIPE
    process = subprocess.Popen(
        ["bash", script], cwd=REPOSITORY, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )
    wait_for(process, "epoch 1:")
    process.send_signal(signal.SIGTERM)
    assert_saved(logdir, process.communicate(timeout=120)[0])


def assert_saved(logdir, said):
    assert re.search(r"stopped by .* after step \d+; saved .*--resume resumes it", said), said
    assert (logdir / "exit_code").read_text() == "143\n"
    assert (logdir / "model/weights.npz").is_file()
    assert "train.py: error" not in said and "]<stderr>:Traceback" not in said
    step = int(re.findall(r"after step (\d+)", said)[0])
    assert int(list_checkpoints(logdir / "checkpoints")[-1].name.split("-")[0]) == step
