"""Real Horovod jobs for tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.common import REPOSITORY

HOROVODRUN = shutil.which("horovodrun", path=str(Path(sys.executable).parent)) or shutil.which("horovodrun")
needs_horovod = pytest.mark.skipif(
    HOROVODRUN is None or importlib.util.find_spec("horovod") is None, reason="Horovod is not installed (make env)"
)


def launch(ranks: int, *command: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """`horovodrun -np RANKS OPTIONS... python COMMAND...`, its outputs in one."""
    return run_job([str(HOROVODRUN), "-np", str(ranks), *options, sys.executable, *command])


def run_job(command: list[str]) -> subprocess.Popen[str]:
    """A process that starts ranks, its outputs in one."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    environment["HOROVOD_GLOO_TIMEOUT_SECONDS"] = "300"  # ranks wait for each other's start, on busy machines too
    environment.setdefault("HOROVOD_CYCLE_TIME", "1")  # milliseconds, as steps of the models in tests
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 240) -> str:
    """What the process says until its end; it is killed where that does not come."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return output


def pid_of(rank: int, text: str) -> int:
    """The process of this rank whose command line has `text` in it, such as its logdir."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # gone meanwhile, or no process
            variables = (entry / "environ").read_bytes().split(b"\0")
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if arguments[0] == sys.executable.encode() and text.encode() in arguments:
                if f"HOROVOD_RANK={rank}".encode() in variables:
                    return int(entry.name)
    raise LookupError(f"no rank {rank} of {text}")


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """What the process says up to the line that has this text."""
    said = []
    for line in process.stdout or ():
        said.append(line)
        if text in line:
            return "".join(said)
    raise AssertionError("".join(said))
