"""Speed and memory of Glow on this machine, one table: `make bench`, or `python tests/benchmarks/bench_glow.py --help`.

Every row is a fresh process (measure.py). Writes the figures as JSON and, with --chart, memory and time against depth
as a PNG.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEPTHS = (4, 8, 16, 32, 64)
COLUMNS = (
    ("images/s", "images_per_second", "{:.2f}"),
    ("GFLOP/s", "useful_gflops", "{:.0f}"),
    ("peak", "peak_gflops", "{:.0f}"),
    ("share", "share_of_peak", "{:.2f}"),
    ("first s", "first_call_seconds", "{:.1f}"),
    ("MiB", "peak_memory_mb", "{:.0f}"),
)


def tasks(*, quick: bool) -> list[dict[str, Any]]:
    """What is measured: the CIFAR-10 model in every mode, then its growth with depth."""
    depth = 4 if quick else 32
    rows: list[dict[str, Any]] = []
    for precision in ("float32", "bfloat16"):
        rows += [{"memory": m, "precision": precision, "depth": depth} for m in ("store", "checkpoint", "reversible")]
        rows += [{"task": t, "precision": precision, "depth": depth} for t in ("decode", "encode")]
    rows += [{"memory": m, "depth": depth, "jit": True} for m in ("store", "checkpoint", "reversible")]
    depths = DEPTHS[:2] if quick else DEPTHS
    rows += [{"memory": m, "depth": d, "repeats": 2} for m in ("store", "checkpoint", "reversible") for d in depths]
    return rows


def run(task: dict[str, Any]) -> dict[str, Any]:
    """The figures of one task, from a fresh process."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "BENCHMARK_STARTED": str(time.time()),
    }
    command = [sys.executable, "-m", "tests.benchmarks.measure", json.dumps(task)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{task} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def name(row: dict[str, Any]) -> str:
    """What a row measures, in words."""
    what = f"train {row['memory']}" if row["task"] == "train" else row["task"]
    return f"{what}, {row['precision']}{', XLA' * row['jit']}, K={row['depth']}"


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    lines = ["| what | " + " | ".join(title for title, _, _ in COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in rows:
        lines.append(f"| {name(row)} | " + " | ".join(form.format(row[key]) for _, key, form in COLUMNS) + " |")
    return "\n".join(lines)


def chart(rows: list[dict[str, Any]], path: Path) -> None:
    """Peak memory and seconds a step against depth, one line for each memory mode."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, key, title in zip(
        axes, ("peak_memory_mb", "seconds"), ("peak memory, MiB", "seconds a step"), strict=True
    ):
        for memory in ("store", "checkpoint", "reversible"):
            points = {r["depth"]: r[key] for r in rows if r["task"] == "train" and r["memory"] == memory}
            axis.plot(sorted(points), [points[depth] for depth in sorted(points)], "o-", label=memory)
        axis.set(xlabel="depth K", title=title, ylim=(0, None))
    axes[0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Measures Glow on this machine: about 20 minutes on two cores.")
    parser.add_argument("--quick", action="store_true", help="small depths only")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the rows whose name holds this")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="whose memory is stated")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "benchmark.json", help="the figures, as JSON")
    parser.add_argument("--chart", type=Path, help="memory and time against depth, as a PNG (needs matplotlib)")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    defaults = {"task": "train", "memory": "reversible", "precision": "float32", "jit": False, "device": args.device}
    for task in tasks(quick=args.quick):
        task = {**defaults, **task}
        if args.only in name(task):
            rows.append(run(task))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    print("\n" + table(rows))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1) + "\n")
    if args.chart:
        float32 = [row for row in rows if row["precision"] == "float32" and row["task"] == "train" and not row["jit"]]
        chart(float32, args.chart)


if __name__ == "__main__":
    main()
