"""Real Horovod jobs for tests."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.forked import Forked

HOROVODRUN = shutil.which("horovodrun", path=str(Path(sys.executable).parent)) or shutil.which("horovodrun")
PATIENCE = {"HOROVOD_GLOO_TIMEOUT_SECONDS": "300"}  # ranks wait for each other's start, on busy machines too
needs_horovod = pytest.mark.skipif(
    HOROVODRUN is None or importlib.util.find_spec("horovod") is None, reason="Horovod is not installed (make env)"
)


def launch(ranks: int, *command: str, options: tuple[str, ...] = ()) -> Forked:
    """`horovodrun -np RANKS OPTIONS... python COMMAND...`, its outputs in one."""
    # It is forked, because it asks Horovod's library, which needs TensorFlow, whether that can do Gloo; without --gloo
    # it also asks for MPI.
    arguments = ["--gloo", "-np", str(ranks), *options, sys.executable, *command]
    return Forked(str(HOROVODRUN), *arguments, environment={"PYTHONUNBUFFERED": "1", **PATIENCE})


def gloo(ranks: int) -> tuple[Any, list[dict[str, str]]]:
    """What horovodrun does besides starting processes: where they meet, and the variables that tell each of them so."""
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    from horovod.runner.gloo_run import create_slot_env_vars
    from horovod.runner.http.http_server import RendezvousServer

    meeting = RendezvousServer()
    common = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1", "HOROVOD_GLOO_RENDEZVOUS_PORT": str(meeting.start())}
    slots = get_host_assignments(parse_hosts(f"localhost:{ranks}"), ranks)
    meeting.init(slots)
    common |= {"HOROVOD_CONTROLLER": "gloo", "HOROVOD_CPU_OPERATIONS": "gloo", "HOROVOD_GLOO_IFACE": "lo", **PATIENCE}
    return meeting, [{**common, **create_slot_env_vars(slot)} for slot in slots]


@contextlib.contextmanager
def forked(ranks: int, *command: str, environment: Mapping[str, str] = MappingProxyType({})) -> Iterator[list[Forked]]:
    """The processes of a job, which are forked instead of started by horovodrun."""
    meeting, ranks_variables = gloo(ranks)
    try:
        yield [Forked(*command, environment={**variables, **environment}) for variables in ranks_variables]
    finally:
        meeting.stop()


def run_forked(
    ranks: int, *command: str, seconds: float = 240, environment: Mapping[str, str] = MappingProxyType({})
) -> str:
    """What the processes of a job say. They are forked instead of started by horovodrun, and must end well."""
    with forked(ranks, *command, environment=environment) as processes:
        with ThreadPoolExecutor(ranks) as pool:
            said = "".join(output for output, _ in pool.map(lambda process: process.communicate(seconds), processes))
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


def wait_for(process: Any, text: str) -> str:
    """What the process says up to the line that has this text."""
    said = []
    for line in process.stdout or ():
        said.append(line)
        if text in line:
            return "".join(said)
    raise AssertionError("".join(said))
