"""Forks processes from one that has imported TensorFlow but used it for nothing: `tests/forked.py` starts it.

Reads JSON lines. {"start": [arguments of Python], "environment": {...}, "folder": ..., "output": ...} forks a process
that is what `python ARGUMENTS...` would be, with both outputs in that pipe, and answers its number.
{"ended": number} answers its exit code, negative where a signal ended it, or null. It ends with its input.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import signal
import sys
import traceback
from typing import IO

from data_loaders.tensorflow_import import import_tensorflow


def be(start: list[str], environment: dict[str, str], folder: str, output: int) -> None:
    """Runs a program in this process, to its end."""
    os.environ.update(environment)
    os.chdir(folder)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    sys.stdin = open(os.devnull)
    sys.stdout, sys.stderr = (os.fdopen(standard, "w", buffering=1) for standard in (1, 2))
    module = start[0] == "-m"
    sys.argv = start[1:] if module else start
    sys.path[0] = folder if module else os.path.dirname(os.path.abspath(start[0]))
    code = 1
    try:
        if module:
            runpy.run_module(start[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(start[0], run_name="__main__")
        code = 0
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 0 if exit.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code)


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answers until there are no more requests; what still runs then is killed."""
    running: set[int] = set()
    for line in requests:
        request, answer = json.loads(line), None
        if "ended" in request:
            number, status = os.waitpid(request["ended"], os.WNOHANG)
            if number:
                running.discard(number)
                answer = os.waitstatus_to_exitcode(status)
        else:
            request["output"] = os.open(request["output"], os.O_WRONLY)  # waits for who reads it
            answer = os.fork()
            if not answer:
                requests.close()
                answers.close()
                be(**request)
            os.close(request["output"])
            running.add(answer)
        print(json.dumps(answer), file=answers, flush=True)
    for number in running:
        os.kill(number, signal.SIGKILL)


def main(modules: list[str]) -> None:
    """With TensorFlow and these modules imported already."""
    requests, answers = (os.fdopen(os.dup(standard), mode) for standard, mode in ((0, "r"), (1, "w")))
    import_tensorflow()
    for name in modules:
        importlib.import_module(name)
    serve(requests, answers)


if __name__ == "__main__":
    main(sys.argv[1:])
