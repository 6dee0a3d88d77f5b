"""Feeds corrupted files and requests to every entrance, and counts what they get.

    python -m tests.reliability.fuzz --inputs 20000

Every entrance runs in a process of its own, which may crash without ending the others. An input fails where it gets
anything but acceptance or one of the entrance's own errors with a message, takes more than 10 seconds of CPU time,
makes the process grow by more than 256 MiB, or executes code. The inputs are a function of the seed.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from tests.reliability.entrances import CANARY, ENTRANCES
from tests.reliability.mutations import mutate

SECONDS = 10.0
MEBIBYTES = 256


class HangError(BaseException):
    """Raised by the clock; no `except Exception` can take it for damage."""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise HangError


def corrupted(name: str, seed: int, index: int, seeds: list[bytes]) -> bytes:
    """One input. The first ones are the seeds as they are."""
    if index < len(seeds):
        return seeds[index]
    return mutate(random.Random(f"{name}/{seed}/{index}"), seeds)


def bombard(name: str, count: int, seed: int, first: int, report: Path, folder: Path) -> None:
    """Gives inputs first to count - 1 to an entrance; adds a JSON line to `report` before and after each."""
    warnings.simplefilter("ignore")
    entrance = ENTRANCES[name][0](folder)
    signal.signal(signal.SIGPROF, _too_long)
    with report.open("a", buffering=1) as lines:
        for index in range(first, count):
            data = corrupted(name, seed, index, entrance.seeds)
            print(json.dumps({"index": index}), file=lines)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began, what, message = time.process_time(), "accepted", ""
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                entrance.read(data)
            except entrance.errors as error:
                message = str(error) or str(getattr(error, "detail", ""))
                what = "refused" if message else "failed"
            except HangError:
                what, message = "failed", f"more than {SECONDS} s"
            except BaseException as error:
                what, message = "failed", f"{type(error).__name__}: {error}"
            signal.setitimer(signal.ITIMER_PROF, 0)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
            if grown > MEBIBYTES:
                what, message = "failed", f"{grown} MiB"
            if (folder / CANARY).exists():
                (folder / CANARY).unlink()
                what, message = "failed", "it executed code"
            seconds = time.process_time() - began
            result = {"index": index, "what": what, "message": message[:300], "seconds": seconds, "grown": grown}
            print(json.dumps(result), file=lines)


def tally(name: str, count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Runs an entrance to its end, and again from the next input where one ends the process."""
    report, first = folder / "report.jsonl", 0
    folder.mkdir()
    while first < count:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                bombard(name, count, seed, first, report, folder)
                code = 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
        if status == 0:
            break
        if not lines or "what" in lines[-1]:
            raise RuntimeError(f"{name}: the process ended with {os.waitstatus_to_exitcode(status)} between two inputs")
        crash = {
            **lines[-1],
            "what": "failed",
            "message": f"the process ended with {os.waitstatus_to_exitcode(status)}",
        }
        first = crash["index"] + 1
        with report.open("a") as file:
            print(json.dumps({**crash, "seconds": 0, "grown": 0}), file=file)
    results = [line for line in map(json.loads, report.read_text().splitlines()) if "what" in line]
    counts = collections.Counter(line["what"] for line in results)
    return {
        "entrance": name,
        "inputs": len(results),
        **{what: counts[what] for what in ("accepted", "refused", "failed")},
        "longest s": round(max(line["seconds"] for line in results), 2),
        "most MiB": max(line["grown"] for line in results),
        "failures": [line for line in results if line["what"] == "failed"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20000, help="for all entrances together, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=ENTRANCES, help="one entrance")
    parser.add_argument("--json", type=Path, help="write the figures, and every failure, there")
    arguments = parser.parse_args()

    rows = []
    columns = ("entrance", "inputs", "accepted", "refused", "failed", "longest s", "most MiB")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, (_, share)) in enumerate(ENTRANCES.items()):
            if arguments.only in (None, name):
                row = tally(name, max(1, arguments.inputs * share // 100), arguments.seed, Path(folder) / str(number))
                rows.append(row)
                print(f"| {' | '.join(str(row[column]) for column in columns)} |", flush=True)
    totals = [sum(row[column] for row in rows) for column in columns[1:5]]
    print(f"| all | {' | '.join(map(str, totals))} | | |")
    for row in rows:
        for failure in row["failures"][:20]:
            print(f"FAILED {row['entrance']}, input {failure['index']}: {failure['message']}", file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if totals[3] else 0


if __name__ == "__main__":
    sys.exit(main())
