"""Training against tfp.bijectors.Glow: `make bench`, or `python tests/benchmarks/bench_tfb_glow.py --help`.

Equal depth, width, batch, images, dequantisation noise, optimizer and number of steps, in a process each, one after the
other (measure_tfb_glow.py). The time of a step is the median over the steps, and bits/dim are those of held-out images.
Writes the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
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
    ("MB", "peak_memory_mb", "{:.0f}"),
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


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table, with the speed relative to the first row."""
    titles = ["model", *(title for title, _, _ in COLUMNS), "speed"]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in rows:
        cells = [form.format(row[key]) for _, key, form in COLUMNS]
        cells.append(f"{rows[0]['seconds'] / row['seconds']:.2f}")
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
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate of Adam (default 0.001)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "benchmark_tfb_glow.json", help="the figures, as JSON"
    )
    args = parser.parse_args()
    task = {name: value for name, value in vars(args).items() if name != "out"}
    rows: list[dict[str, Any]] = []
    for name, of_row in ROWS:
        rows.append({"name": name, **run({**task, **of_row})})
        print(f"{name}: {rows[-1]['seconds']:.3f} s a step", flush=True)
    print("\n" + table(rows))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
