"""Horovod on this machine: how much of the allreduces the backward pass hides, and weak scaling to two cores.

Weak scaling is two ranks on a core each, against one process on one core, with the same batch for each. Two processes
that do not talk show what of the difference is the machine's (memory, clock, neighbours) and not Horovod's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.timeline import overlap, read_steps  # noqa: E402

SCRIPT = Path(__file__).with_name("measure_horovod.py")
SKIPPED = 2  # steps: the first traces, and Horovod learns the tensors' names


def start(task: dict[str, Any], *launcher: str) -> subprocess.Popen[str]:
    """One measurement, running."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [*launcher, sys.executable, str(SCRIPT), json.dumps(task)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def results_of(process: subprocess.Popen[str]) -> list[dict[str, list[float]]]:
    """What each process of a measurement found, once it has ended; without the steps that do not count."""
    said, _ = process.communicate()
    results = [json.loads(line.split("measured ", 1)[1]) for line in said.splitlines() if "measured {" in line]
    if process.returncode or not results:
        raise SystemExit(f"{process.args!r} failed:\n{said[-3000:]}")
    return [{name: values[SKIPPED:] for name, values in result.items()} for result in results]


def seconds_of(process: subprocess.Popen[str]) -> float:
    """The median of a measurement's steps, of the slower process."""
    return max(statistics.median(result["seconds"]) for result in results_of(process))


def scaling(task: dict[str, Any], horovodrun: str, rounds: int) -> dict[str, Any]:
    """Seconds a step: alone, two that do not talk, two ranks; by turns, because the machine's speed drifts."""
    rows: dict[str, list[float]] = {"alone": [], "apart": [], "ranks": []}
    for _ in range(rounds):
        rows["alone"].append(seconds_of(start(task)))
        apart = [start(task | {"core": core}) for core in (0, 1)]
        rows["apart"].append(max(seconds_of(process) for process in apart))
        rows["ranks"].append(seconds_of(start(task, horovodrun, "-np", "2")))
    return {
        **rows,
        "efficiency": [alone / ranks for alone, ranks in zip(rows["alone"], rows["ranks"], strict=True)],
        "of_horovod": [apart / ranks for apart, ranks in zip(rows["apart"], rows["ranks"], strict=True)],
    }


def timeline(task: dict[str, Any], horovodrun: str) -> dict[str, Any]:
    """The share of the allreduces' time, and the seconds of it, that lie before the end of the backward pass."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "timeline.json"
        results = results_of(start(task | {"timed": True}, horovodrun, "-np", "2", "--timeline-filename", str(path)))
        steps = read_steps(path)[SKIPPED:]
    ends = [max(ranks) for ranks in zip(*(result["computed"] for result in results), strict=True)]
    during, total = zip(*(overlap(*each) for each in zip(steps, ends, strict=False)), strict=True)
    mean = statistics.mean
    return {
        "share": sum(during) / sum(total),
        "seconds_a_step": mean(total),
        "exposed": mean(total) - mean(during),
        "steps": len(total),
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Horovod with two processes on a core each: about 5 minutes.")
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--n_levels", type=int, default=3)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16, help="images a step of each process")
    parser.add_argument("--steps", type=int, default=6, help=f"of each measurement, of which {SKIPPED} do not count")
    parser.add_argument("--rounds", type=int, default=3, help="each has all three measurements")
    parser.add_argument("--compression", default="none", choices=("none", "fp16"))
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "benchmark_horovod.json", help="the figures, as JSON"
    )
    args = parser.parse_args()
    found = shutil.which("horovodrun", path=str(Path(sys.executable).parent)) or shutil.which("horovodrun")
    if found is None or importlib.util.find_spec("horovod") is None:
        print("skipped: Horovod is not installed")
        return
    if len(os.sched_getaffinity(0)) < 2:
        print("skipped: this process may use one core only, and two are compared with one")
        return
    model = {name: getattr(args, name) for name in ("image_size", "n_levels", "depth", "width")}
    task = {"model": model, "batch": args.batch, "steps": args.steps, "compression": args.compression}
    hidden = timeline(task, found)
    print(
        f"allreduce {hidden['seconds_a_step']:.3f} s a step, {100 * hidden['share']:.0f} % of it within the backward"
        f" pass, {hidden['exposed']:.3f} s after it",
        flush=True,
    )
    rows = scaling(task, found, args.rounds)
    for name, text in (("alone", "one process"), ("apart", "two that do not talk"), ("ranks", "two ranks")):
        print(f"{text:22} {statistics.median(rows[name]):7.3f} s a step for {args.batch} images each")
    for name, text in (("efficiency", "efficiency"), ("of_horovod", "against two that do not talk")):
        low, middle, high = min(rows[name]), statistics.median(rows[name]), max(rows[name])
        print(f"{text:30} {middle:.3f} ({low:.3f} to {high:.3f})")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"task": task, "timeline": hidden, "scaling": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
