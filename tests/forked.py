"""Real processes that have imported TensorFlow already: an import takes as much CPU time as most tests.

They are forked from a process that has imported it, and is otherwise as fresh as a new one. Tests of how a process
starts take subprocess.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

REPOSITORY = Path(__file__).parents[1]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


class Server:
    """A process that others are forked from; `command` runs fork_server.py."""

    def __init__(self, command: list[str]) -> None:
        environment = {**os.environ, **ENVIRONMENT}
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._lock = threading.Lock()
        atexit.register(self.close)

    def start(self, pipe: str, **program: Any) -> tuple[int, TextIO]:
        """The number of a process that runs this program, and what it says."""
        with self._lock:
            print(json.dumps({**program, "output": pipe}), file=self._requests, flush=True)
            output = open(pipe)  # opened from both ends at once
            return json.loads(self._answers.readline()), output

    def ended(self, number: int) -> int | None:
        """The exit code of a process that was started, None where it still runs."""
        with self._lock:
            print(json.dumps({"ended": number}), file=self._requests, flush=True)
            return json.loads(self._answers.readline())

    def close(self) -> None:
        """Ends it, and what was forked from it and still runs."""
        self._process.communicate()


@functools.cache
def server() -> Server:
    """The one of this process, with everything that a training imports."""
    return Server([sys.executable, "-m", "tests.fork_server", "glow_tf.training.session", "PIL.Image"])


class Forked:
    """A program in a process of its own, as subprocess.Popen(..., stdout=PIPE, stderr=STDOUT, text=True) is one.

    Args:
      arguments: of Python: a script or -m and a module, and what they are given.
      environment: variables that are added.
      folder: where it runs.
      of: what it is forked from; default: the `server` of this process.
    """

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        folder: Path = REPOSITORY,
        of: Server | None = None,
    ) -> None:
        self._server = of or server()
        self.returncode: int | None = None
        with tempfile.TemporaryDirectory() as place:
            pipe = f"{place}/output"
            os.mkfifo(pipe)
            self.pid, self.stdout = self._server.start(
                pipe, start=arguments, environment=dict(environment or {}), folder=str(folder)
            )

    def poll(self) -> int | None:
        """The exit code, where it has ended."""
        if self.returncode is None:
            self.returncode = self._server.ended(self.pid)
        return self.returncode

    def wait(self) -> int:
        """The exit code, when it has ended."""
        while (code := self.poll()) is None:
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """As the command `kill` does it."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float) -> tuple[str, None]:
        """What it says until its end; it is killed where that does not come."""
        late = threading.Event()

        def end() -> None:
            late.set()
            os.kill(self.pid, signal.SIGKILL)

        clock = threading.Timer(timeout, end)
        clock.start()
        said = self.stdout.read()
        clock.cancel()
        self.stdout.close()
        self.wait()
        if late.is_set():
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout, said)
        return said, None
