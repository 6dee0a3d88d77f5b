"""What a GPU does with Glow, the most telling figures first: `python tests/benchmarks/bench_gpu.py --minutes 3`.

Every figure is printed as soon as it is measured, so that a short run gives the most important ones. They are taken in
one process (measure_gpu.py), which is replaced where a figure takes longer than its limit or crashes; that figure is
then said to be missing. Without a GPU the models are tiny: that shows that the benchmark works, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def tasks() -> list[dict[str, Any]]:
    """What is measured, in order of importance."""
    small, large = {"model": "cifar10", "batch": 64}, {"model": "celebahq256", "batch": 1}
    fast = {"memory": "reversible", "precision": "tf32", "jit": True}
    return [
        {"what": "device"},
        {"what": "sample", **large, "jit": True},
        {"what": "train", **small, **fast},
        {"what": "train", **large, **fast},
        {"what": "sample", **large, "jit": False},
        {"what": "products"},
        {"what": "launches"},
        {"what": "fold", **large, "jit": False},
        {"what": "train", **small, **fast, "precision": "float32"},
        {"what": "train", **small, **fast, "precision": "bfloat16"},
        {"what": "train", **small, **fast, "jit": False},
        {"what": "train", **small, **fast, "memory": "store"},
        {"what": "recover", **small, "jit": True},
        {"what": "kernels", **small, **fast},
        {"what": "train", **large, **fast, "batch": 4},
        {"what": "train", **large, **fast, "precision": "float32"},
        {"what": "train", **large, **fast, "precision": "bfloat16"},
        {"what": "train", **large, **fast, "jit": False},
        {"what": "train", **large, **fast, "memory": "store"},
        {"what": "kernels", **large, **fast},
        {"what": "train", **large, **fast, "batch": 16},
        {"what": "train", **small, **fast, "batch": 512},
        {"what": "sample", **large, "jit": True, "batch": 16},
        {"what": "kernels", **small, **fast, "jit": False},
        {"what": "train", **small, **fast, "memory": "checkpoint"},
        {"what": "train", **small, **fast, "memory": "store", "jit": False},
        {"what": "train", **small, **fast, "memory": "store", "precision": "bfloat16"},
        {"what": "recover", **large, "jit": True},
    ]


def name(task: dict[str, Any]) -> str:
    """What is measured, in words."""
    words = [task["what"], task.get("model"), f"batch {task['batch']}" if "batch" in task else None]
    words += [task.get("memory"), task.get("precision"), ("executor", "XLA")[task["jit"]] if "jit" in task else None]
    return ", ".join(word for word in words if word)


class Worker:
    """A process that measures these tasks one after the other."""

    def __init__(self, tasks: list[dict[str, Any]], *, tiny: bool, log: Any) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path}
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        asked = json.dumps({"tiny": tiny, "tasks": tasks})
        command = [sys.executable, "-m", "tests.benchmarks.measure_gpu", asked]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")  # the process has ended

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next figures; None where they take longer, or where the process ended, and it is over then."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            line = ""
        if not line:
            self.end()
        return json.loads(line) if line else None

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Measures Glow on this machine's first GPU.")
    parser.add_argument("--minutes", type=float, default=12, help="for all of it")
    parser.add_argument("--limit", type=float, default=75, metavar="SECONDS", help="for one figure, compiling included")
    parser.add_argument("--tiny", action="store_true", help="tiny models, as without a GPU")
    parser.add_argument("--only", default="", metavar="TEXT", help="only what is named so")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="N", help="without the first N")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu.json", help="the figures, as JSON")
    args = parser.parse_args()
    left = [task for task in tasks()[args.first :] if args.only in name(task)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    end, rows, worker = time.monotonic() + 60 * args.minutes, [], None
    with args.out.with_suffix(".log").open("w") as log:
        while left and time.monotonic() < end:
            worker = worker or Worker(left, tiny=args.tiny, log=log)
            task, began = left.pop(0), time.monotonic()
            figures = worker.next(min(args.limit, end - began))
            rows.append({**task, **(figures or {"missing": "took too long, or the process crashed"})})
            words = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in
                     list(rows[-1].items())[len(task):]]  # fmt: skip
            print(f"{name(task)} ({time.monotonic() - began:.0f} s): {'; '.join(words)}", flush=True)
            args.out.write_text(json.dumps(rows, indent=1) + "\n")
            worker = worker if figures else None
    if worker:
        worker.end()
    if left:
        print(f"not measured: {'; '.join(map(name, left))}")


if __name__ == "__main__":
    main()
