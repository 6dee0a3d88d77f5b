"""Kills real trainings at random moments, resumes them, and compares what comes out with a run that nothing disturbed.

    python -m tests.reliability.kills --ranks 1 --kills 60 --folder /tmp/kills1
    python -m tests.reliability.kills --ranks 2 --kills 40 --folder /tmp/kills2

Every life is a process of its own (two under Horovod) that runs train.py's `main` and gets a SIGKILL, mostly while it
trains, now and then while it starts. With two ranks one of them, at random, is killed; whether the other one then ends
by itself is counted. After each kill all checkpoints are verified, none may be older than before, and the next life
must resume from the newest. In the end every weight, moment and average, and every line of train.txt and test.txt, must
be equal to the undisturbed run's. Processes are forked from one that has imported TensorFlow but not used it, which
saves most of each start.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import train
from data_loaders.tensorflow_import import import_tensorflow
from glow_tf.storage import checkpoints
from tests.training.common import assert_same_run, flags
from tests.training.jobs import gloo

EARLY = 0.2  # share of the kills that come before the first step of a life
GRACE = 30.0  # seconds that a rank has to end by itself when another was killed
PATIENCE = 300.0  # seconds until a process that should speak or end counts as hanging


class Life:
    """The processes of one start of the training, their outputs in one file each."""

    def __init__(self, arguments: list[str], ranks: int, outputs: Path) -> None:
        self._server = None
        if ranks > 1:
            self._server, environments = gloo(ranks)
        else:
            environments = [{}]
        self.outputs = [outputs.with_suffix(f".{rank}.txt") for rank in range(ranks)]
        self._codes: dict[int, int] = {}
        self.pids = [_fork(arguments, e, path) for e, path in zip(environments, self.outputs, strict=True)]
        atexit.register(self.put_down)

    def wait_for(self, pattern: str) -> str | None:
        """The first match in rank 0's output; None where it ended without."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            over = self.ended(self.pids[0])
            found = re.search(pattern, self.outputs[0].read_text())
            if found or over:
                return found and found[0]
            time.sleep(0.02)
        raise TimeoutError(f"no {pattern!r} in {self.outputs[0]}")

    def ended(self, pid: int) -> bool:
        if pid not in self._codes:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self._codes[pid] = os.waitstatus_to_exitcode(status)
        return pid in self._codes

    def codes(self, patience: float) -> list[int]:
        """Waits for the end of all; their exit codes. Who does not end is killed, as a launcher does it."""
        end = time.monotonic() + patience
        while not all([self.ended(pid) for pid in self.pids]):
            if time.monotonic() > end:
                self.put_down()
            time.sleep(0.1)
        if self._server is not None:
            self._server.stop()
        return [self._codes[pid] for pid in self.pids]

    def put_down(self) -> None:
        """Kills who is still there."""
        for pid in self.pids:
            if not self.ended(pid):
                os.kill(pid, signal.SIGKILL)


def _fork(arguments: list[str], environment: dict[str, str], output: Path) -> int:
    output.write_text("")
    pid = os.fork()
    if pid:
        return pid
    os.environ.update(environment)
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    code = 99
    try:
        code = train.main(arguments)
    finally:
        sys.stdout.flush()
        os._exit(code)


def newest_step(logdir: Path) -> int:
    """The newest checkpoint's step, after all were verified; 0 where there is none."""
    found = checkpoints.list_checkpoints(logdir / "checkpoints")
    for checkpoint in found:
        checkpoints.verify(checkpoint)
    return int(found[-1].name.split("-")[0]) if found else 0


def torment(ranks: int, kills: int, steps: int, folder: Path, seed: int, mean: float) -> dict[str, object]:
    """Runs it all and returns the figures; an AssertionError where anything differs."""
    chance = random.Random(seed)
    settings = {"n_batch_train": 16 // ranks, "steps": steps, "epochs": steps, "epochs_full_valid": 10}
    settings |= {"checkpoint_steps": 3, "epochs_full_sample": 10**6}
    whole, killed = folder / "whole", folder / "killed"
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    if not (whole / "exit_code").exists():  # one that is there already serves again
        first = Life(flags(whole, **settings), ranks, folder / "whole")
        assert set(first.codes(PATIENCE + steps)) == {0}, first.outputs[0].read_text()
    early = done = lost = survivors = alone = 0
    step = newest_step(killed)  # above 0: with another --kills this continues where it stopped
    while True:
        life = Life(flags(killed, resume=True, **settings), ranks, folder / f"life{done:03d}")
        is_early = chance.random() < EARLY
        if not is_early:
            said = life.wait_for(r"from (step \d+|the beginning) to step")
            assert said is not None, life.outputs[0].read_text()
            assert int((re.findall(r"\d+", said) or ["0"])[0]) == step, (said, step)
        if done == kills:
            break
        if not is_early:
            assert life.wait_for(r"\nepoch \d+ step"), life.outputs[0].read_text()  # the first step is behind it
        time.sleep(chance.expovariate(1 / mean))
        victim = chance.randrange(ranks)
        assert not life.ended(life.pids[victim]), "the run is over: more --steps are needed for so many kills"
        os.kill(life.pids[victim], signal.SIGKILL)
        codes = life.codes(GRACE)
        assert codes[victim] == -signal.SIGKILL and all(codes), codes
        survivors += ranks - 1
        alone += sum(code != -signal.SIGKILL for code in codes)
        text = life.outputs[0].read_text()
        assert "skipped" not in text and "damaged" not in text, text
        now = newest_step(killed)
        lost += now < step
        done, step, early = done + 1, now, early + is_early
        when = "at the start" if is_early else "in training"
        print(f"kill {done}: rank {victim}, {when}; newest checkpoint: step {now}", flush=True)
    assert set(life.codes(PATIENCE + steps)) == {0}, life.outputs[0].read_text()
    assert lost == 0
    assert_same_run(whole, killed)
    lines = sum(len((killed / name).read_text().splitlines()) - 1 for name in ("train.txt", "test.txt"))
    return {
        "ranks": ranks,
        "steps": steps,
        "kills": kills,
        "at the start": early,
        "survivors": survivors,
        "ended by themselves": alone,
        "checkpoints lost": lost,
        "log lines compared": lines,
        "all equal": True,
        "seconds": round(time.monotonic() - begun),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--steps", type=int, default=0, help="length of the run; 0: 25 for every kill")
    parser.add_argument("--folder", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--seed", type=int, default=0)
    text = "mean time from a start, or from its first step, to the kill: most come soon, some late"
    parser.add_argument("--seconds", type=float, default=2.5, help=text)
    arguments = parser.parse_args()
    import_tensorflow()
    from glow_tf.training.evaluation import Evaluator

    Evaluator.draw = lambda self, epoch: None  # type: ignore[method-assign]  # pictures are not compared

    if arguments.ranks > 1:
        import horovod.tensorflow  # noqa: F401
    steps = arguments.steps or 25 * arguments.kills
    numbers = arguments.ranks, arguments.kills, steps
    print(json.dumps(torment(*numbers, arguments.folder, arguments.seed, arguments.seconds)))


if __name__ == "__main__":
    main()
