"""Real Horovod jobs for tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.forked import Forked
from tests.training.common import REPOSITORY

HOROVODRUN = shutil.which("horovodrun", path=str(Path(sys.executable).parent)) or shutil.which("horovodrun")
needs_horovod = pytest.mark.skipif(
    HOROVODRUN is None or importlib.util.find_spec("horovod") is None, reason="Horovod is not installed (make env)"
)


def launch(ranks: int, *command: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """`horovodrun -np RANKS OPTIONS... python COMMAND...`, its outputs in one."""
    # --gloo, or it looks for MPI first, in further processes that import TensorFlow.
    return run_job([str(HOROVODRUN), "--gloo", "-np", str(ranks), *options, sys.executable, *command])


def run_job(command: list[str]) -> subprocess.Popen[str]:
    """A process that starts ranks, its outputs in one."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    environment["HOROVOD_GLOO_TIMEOUT_SECONDS"] = "300"  # ranks wait for each other's start, on busy machines too
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


def gloo(ranks: int) -> tuple[Any, list[dict[str, str]]]:
    """What horovodrun does besides starting processes: where they meet, and the variables that tell each of them so."""
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    from horovod.runner.gloo_run import create_slot_env_vars
    from horovod.runner.http.http_server import RendezvousServer

    meeting = RendezvousServer()
    common = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1", "HOROVOD_GLOO_RENDEZVOUS_PORT": str(meeting.start())}
    slots = get_host_assignments(parse_hosts(f"localhost:{ranks}"), ranks)
    meeting.init(slots)
    common |= {"HOROVOD_CONTROLLER": "gloo", "HOROVOD_CPU_OPERATIONS": "gloo", "HOROVOD_GLOO_IFACE": "lo"}
    common |= {"HOROVOD_GLOO_TIMEOUT_SECONDS": "300"}  # they wait for each other's start, on busy machines too
    return meeting, [{**common, **create_slot_env_vars(slot)} for slot in slots]


def run_forked(
    ranks: int, *command: str, seconds: float = 240, environment: Mapping[str, str] = MappingProxyType({})
) -> str:
    """What the processes of a job say. They are forked instead of started by horovodrun, and must end well."""
    meeting, ranks_variables = gloo(ranks)
    try:
        processes = [Forked(*command, environment={**variables, **environment}) for variables in ranks_variables]
        with ThreadPoolExecutor(ranks) as pool:
            said = "".join(output for output, _ in pool.map(lambda process: process.communicate(seconds), processes))
    finally:
        meeting.stop()
    assert [process.returncode for process in processes] == [0] * ranks, said
    return said


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
