"""Step time and peak memory at eight budgets from the least to the most that a model can use: one table and one chart.

Every row is a fresh process (measure.py). The first row is `reversible`, the last `store`, by their names.

With --fitting: `auto` beside all else that fits into the memory that this process may have, which a control group
limits, as in `systemd-run --scope -p MemoryMax=8G python -m tests.benchmarks.bench_memory --fitting`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_glow import ROOT, run

MODELS: dict[str, dict[str, Any]] = {
    "CIFAR-10, batch 16": {"batch": 16, "repeats": 5},
    "CIFAR-10, batch 64": {"batch": 64, "repeats": 3},
    "256x256, batch 1": {"batch": 1, "repeats": 2, "image_size": 256, "n_levels": 6},
}
COLUMNS = (
    ("budget, MiB", "budget_mb", "{:.0f}"),
    ("foreseen", "foreseen_mb", "{:.0f}"),
    ("peak", "peak_memory_mb", "{:.0f}"),
    ("s a step", "seconds", "{:.2f}"),
    ("CPU s a step", "cpu_seconds", "{:.2f}"),
    ("work saved", "work_saved", "{:.2f}"),
)


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    lines = ["| model | " + " | ".join(title for title, _, _ in COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in rows:
        lines.append(f"| {row['name']} | " + " | ".join(form.format(row[key]) for _, key, form in COLUMNS) + " |")
    return "\n".join(lines)


def fitting(name: str, task: dict[str, Any]) -> None:
    """Prints a row for `auto`, and for every other setting that fits as well."""
    print("| model | memory | keeps | s a step | CPU s a step | peak, MiB |\n|---|---|---|---|---|---|")
    for memory in ("auto", "reversible", 1 / 3, 2 / 3, "store"):
        what = memory if isinstance(memory, str) else f"{memory:.2f}"
        try:
            row = run({"task": "train", "memory": memory, "device": "cpu", **task})
        except SystemExit as error:  # it does not fit
            print(f"| {name} | {what} | {str(error).splitlines()[-1]} |", flush=True)
            continue
        figures = f"{row['seconds']:.2f} | {row['cpu_seconds']:.2f} | {row['peak_memory_mb']:.0f}"
        print(f"| {name} | {what} | {row['kept']} | {figures} |", flush=True)


def chart(rows: list[dict[str, Any]], path: Path) -> None:
    """CPU seconds a step and peak memory against the budget, one column for each model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row["name"] for row in rows))
    figure, axes = pyplot.subplots(2, len(names), figsize=(3.2 * len(names), 5), layout="constrained", squeeze=False)
    for (time, peak), name in zip(axes.T, names, strict=True):
        points = [row for row in rows if row["name"] == name]
        budgets = [row["budget_mb"] / 1024 for row in points]
        time.plot(budgets, [row["cpu_seconds"] for row in points], "o-")
        time.set(title=name, ylim=(0, None))
        peak.plot(budgets, [row["peak_memory_mb"] / 1024 for row in points], "o-", label="measured")
        peak.plot(budgets, budgets, "--", color="gray", label="budget")
        peak.set(xlabel="budget, GiB")
    axes[0][0].set(ylabel="CPU seconds a step")
    axes[1][0].set(ylabel="peak memory, GiB")
    axes[1][0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description="Measures training steps within budgets: about 30 minutes on two cores."
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only models whose name holds this")
    parser.add_argument("--fitting", action="store_true", help="auto beside what else fits into a limit")
    parser.add_argument("--points", type=int, default=8, help="budgets for each model (default 8)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "memory.json", help="the figures, added to this file"
    )
    parser.add_argument("--chart", type=Path, help="time and memory against budget, as a PNG (needs matplotlib)")
    args = parser.parse_args()
    if args.fitting:
        for name, task in MODELS.items():
            if args.only in name:
                fitting(name, task)
        return
    rows: list[dict[str, Any]] = json.loads(args.out.read_text()) if args.out.exists() else []
    shares = [i / (args.points - 1) for i in range(args.points)]
    for name, task in MODELS.items():
        for share in shares if args.only in name else ():
            settings = {"task": "train", "memory": share, "precision": args.precision, "device": "cpu", **task}
            if not any(row["name"] == name and row["share"] == share for row in rows):
                rows.append({**run(settings), "name": name, "share": share})
                print(table(rows[-1:]).splitlines()[-1], flush=True)
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(rows, indent=1) + "\n")
    print("\n" + table(rows))
    if args.chart:
        chart(rows, args.chart)


if __name__ == "__main__":
    main()
