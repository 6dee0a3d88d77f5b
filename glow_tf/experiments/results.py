"""Curves and last numbers of the trainings; results.json, curves.csv, and a table for the terminal."""

from __future__ import annotations

import csv
import json
import math
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_loaders.cores import usable_cores
from glow_tf.storage.files import atomic_write

_COLUMNS = ("run", "split", "epoch", "images", "bits_per_dim")


def is_finished(logdir: Path) -> bool:
    """Whether the training in this folder has come to its end."""
    path = logdir / "exit_code"
    return path.is_file() and path.read_text().strip() == "0"


def lines(logdir: Path, split: str) -> list[dict[str, Any]]:
    """The results in train.txt or test.txt, without the settings in the first line."""
    path = logdir / f"{split}.txt"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]] if path.is_file() else []


def curve(logdir: Path, split: str) -> tuple[list[int], list[float]]:
    """Epochs, and bits/dim at each."""
    entries = lines(logdir, split)
    return [entry["epoch"] for entry in entries], [float(entry["bits_x"]) for entry in entries]


def last(logdir: Path) -> dict[str, Any]:
    """Bits/dim of the last evaluation on the test set, epochs, and minutes of training."""
    test, train = lines(logdir, "test")[-1], lines(logdir, "train")[-1]
    return {
        "test bits/dim": float(test["bits_x"]),
        "epochs": test["epoch"],
        "minutes": round(train["train_time"] / 60, 1),
    }


def evaluation(glow: Any, data: Any) -> dict[str, Any]:
    """Bits/dim over the whole test set, its standard error, and the share that the classifier gets wrong (or None)."""
    from data_loaders.progress import Progress
    from glow_tf.commands.evaluate import evaluate

    with Progress("evaluating", data.n_test) as progress:
        result = evaluate(glow, data.test_batches(50), data.n_test, 0, progress)
    bits = result.bits_per_dim
    error = float(bits.std(ddof=1) / math.sqrt(len(bits)))
    return {"bits/dim": float(bits.mean()), "standard error": error, "classified wrong": result.pred_error}


def write(study: Any, found: Mapping[str, Any]) -> None:
    """Writes results.json and curves.csv of a study, and prints what was found beside what was published."""
    trained = {name: {**last(study.folder(name)), **_settings(run)} for name, run in study.runs.items()}
    everything = {
        "experiment": study.name,
        "about": study.module.ABOUT,
        "source": study.module.SOURCE,
        "published": study.module.PUBLISHED,
        "scale": study.scale,
        "command": study.command,
        "data": study.data.describe() if study.data else None,
        "machine": machine(),
        "results": dict(found),
        "runs": trained,
    }
    with atomic_write(study.out / "results.json") as path:
        path.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    with atomic_write(study.out / "curves.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(_rows(study))
    print(f"\n{study.name} ({study.module.SOURCE}), scale {study.scale}")
    for name, value in found.items():
        print(f"  {name}: {text(value)}")
    for name, value in study.module.PUBLISHED.items():
        print(f"  published, {name}: {text(value)}")
    print(f"{study.picture()}, {study.out / 'results.json'}, {study.out / 'curves.csv'}")


def machine() -> str:
    """Processor and cores, for people."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    cores = usable_cores()
    return f"{model}, {cores} core{'s' * (cores != 1)}"


def _settings(run: Any) -> dict[str, Any]:
    return {"model": dict(run.model), "train": dict(run.train)}


def _rows(study: Any) -> Iterator[dict[str, Any]]:
    for name in study.runs:
        for split in ("train", "test"):
            for entry in lines(study.folder(name), split):
                values = (name, split, entry["epoch"], entry["n_images"], entry["bits_x"])
                yield dict(zip(_COLUMNS, values, strict=True))


def text(value: Any) -> str:
    """A result for people: numbers to four digits, dicts as lists."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
