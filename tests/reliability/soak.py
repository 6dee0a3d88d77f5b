"""A long training, watched: `python -m tests.reliability.soak --hours 2 -- --problem digits --logdir runs/soak ...`.

Starts `train.py` with what follows `--`, looks at its process from outside until it ends or the hours are over (then
SIGTERM, as a cluster sends it), and writes resident memory, open files and threads over time as JSON. What it prints
compares the first and the last quarter of the time after the warm-up, in which a program still traces its functions.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 0.1  # of the watched time
MEASURES = ("resident_mib", "open_files", "threads")


def look(process: psutil.Process, begin: float) -> dict[str, float]:
    """What the process holds now."""
    with process.oneshot():
        return {
            "seconds": round(time.monotonic() - begin, 1),
            "resident_mib": round(process.memory_info().rss / 2**20, 1),
            "open_files": process.num_fds(),
            "threads": process.num_threads(),
        }


def quarters(samples: list[dict[str, float]], measure: str) -> tuple[float, float]:
    """Medians of the first and the last quarter of the samples after the warm-up."""
    kept = [sample[measure] for sample in samples[int(WARM_UP * len(samples)) :]]
    size = max(1, len(kept) // 4)
    return statistics.median(kept[:size]), statistics.median(kept[-size:])


def watch(arguments: list[str], hours: float, every: float, write: Path) -> tuple[list[dict[str, float]], int]:
    """Runs train.py with the arguments; the samples, and its exit code."""
    training = subprocess.Popen([sys.executable, str(ROOT / "train.py"), *arguments], cwd=ROOT)
    process, begin, samples = psutil.Process(training.pid), time.monotonic(), []
    while training.poll() is None and time.monotonic() - begin < 3600 * hours:
        try:
            samples.append(look(process, begin))
        except psutil.Error:  # it ended between the two lines
            break
        write.write_text(json.dumps(samples) + "\n", encoding="utf-8")
        time.sleep(every)
    if training.poll() is None:
        training.send_signal(signal.SIGTERM)
    return samples, training.wait()


def main() -> None:
    """Runs the soak."""
    parser = argparse.ArgumentParser(description="Watches a long training's memory, open files and threads.")
    parser.add_argument("--hours", type=float, default=2.0, help="how long (default 2)")
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two looks (default 20)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "soak.json", help="the samples, as JSON")
    parser.add_argument("arguments", nargs="+", help="of train.py, after --")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    samples, code = watch(args.arguments, args.hours, args.every, args.out)
    print(f"train.py ended with exit code {code} after {samples[-1]['seconds'] / 60:.0f} minutes, {len(samples)} looks")
    for measure in MEASURES:
        first, last = quarters(samples, measure)
        print(f"{measure}: {first:g} in the first quarter, {last:g} in the last ({last - first:+g})")


if __name__ == "__main__":
    main()
