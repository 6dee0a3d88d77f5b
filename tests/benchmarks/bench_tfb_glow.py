"""Training against tfp.bijectors.Glow: `make bench`, or `python tests/benchmarks/bench_tfb_glow.py --help`.

Equal depth, width, batch, images, dequantisation noise, optimizer and number of steps, in a process each
(measure_tfb_glow.py), by turns and repeatedly, because the machine's speed drifts. A figure is the median over the
turns, the time of a step that over the steps, and the speed that of the ratios within a turn; bits/dim are those of
held-out images. Writes the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROWS = (
    ("tfp.bijectors.Glow", {"model": "tfb"}),
    ("glow_tf, store", {"model": "glow_tf", "memory": "store"}),
    ("glow_tf, reversible", {"model": "glow_tf", "memory": "reversible"}),
)
COLUMNS = (
    ("s a step", "seconds", "{:.3f}"),
    ("images/s", "images_per_second", "{:.1f}"),
    ("first s", "first_step_seconds", "{:.1f}"),
    ("MiB", "peak_memory_mb", "{:.0f}"),
    ("weights, M", "million_weights", "{:.2f}"),
    ("bits/dim before", "bits_per_dim_before", "{:.3f}"),
    ("bits/dim after", "bits_per_dim_after", "{:.3f}"),
)


def run(task: dict[str, Any]) -> dict[str, Any]:
    """The figures of one task, from a fresh process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "tests.benchmarks.measure_tfb_glow", json.dumps(task)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{task} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def summary(turns: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row of figures for each model, from its turns; `speed` is relative to the first model in the same turn."""
    rows = []
    for model, of_model in enumerate(zip(*turns, strict=True)):
        row = {"name": ROWS[model][0]}
        for _, key, _ in COLUMNS:
            row[key] = statistics.median(figures[key] for figures in of_model)
        speeds = [turn[0]["seconds"] / turn[model]["seconds"] for turn in turns]
        rows.append({**row, "speed": statistics.median(speeds), "speeds": speeds})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    titles = ["model", *(title for title, _, _ in COLUMNS), "speed (range)"]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in rows:
        cells = [form.format(row[key]) for _, key, form in COLUMNS]
        cells.append(f"{row['speed']:.2f} ({min(row['speeds']):.2f}-{max(row['speeds']):.2f})")
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="glow_tf and tfp.bijectors.Glow, in training, on this machine.")
    parser.add_argument("--problem", default="digits", help="images that data_loaders has (default: digits)")
    parser.add_argument("--data_dir", default="", help="where they are, if they do not come with the project")
    parser.add_argument("--levels", type=int, default=2, help="levels (blocks) (default 2)")
    parser.add_argument("--depth", type=int, default=8, help="steps of each level (default 8)")
    parser.add_argument("--width", type=int, default=128, help="hidden channels of the networks (default 128)")
    parser.add_argument("--batch", type=int, default=64, help="images of a step (default 64)")
    parser.add_argument("--steps", type=int, default=300, help="training steps (default 300)")
    parser.add_argument(
        "--lr", type=float, default=1e-4, help="learning rate of Adam, without warm-up (default 0.0001)"
    )
    parser.add_argument("--turns", type=int, default=3, help="how often each model is trained (default 3)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "benchmark_tfb_glow.json", help="the figures, as JSON"
    )
    args = parser.parse_args()
    task = {name: value for name, value in vars(args).items() if name not in ("out", "turns")}
    turns = []
    for turn in range(args.turns):
        turns.append([run({**task, **of_row}) for _, of_row in ROWS])
        print(f"turn {turn + 1}: " + ", ".join(f"{figures['seconds']:.3f}" for figures in turns[-1]) + " s", flush=True)
    rows = summary(turns)
    print("\n" + table(rows))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
