"""Images per second that every loader delivers, against what training takes on the same cores: part of `make bench`.

A loader is asked for training batches as train.py asks for them, with its default --pmap and --fmap and nothing else
running. What training takes is the speed of a training step of the CIFAR-10 model (measure.py, `store`, the fastest
way), for each data set by the operations of the model that the README or OpenAI's code trains on it: generous for small
models, which are slower than that. Data is random, made in a temporary folder; files are in the page cache.

After these, how long folders of 200,000 and of 1,000,000 files take from the command to the first step: start_up.py.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
RECORD_BYTES = 2**26  # of a data set of TFRecords
SMALL: dict[str, Any] = {"depth": 16, "width": 128, "flow_coupling": "affine"}

# Row: problem, options of load, fields of the model that is trained on it.
ROWS: dict[str, tuple[str, dict[str, Any], dict[str, Any] | str]] = {
    "digits": ("digits", {}, {**SMALL, "n_levels": 2}),
    "mnist": ("mnist", {}, {**SMALL, "n_levels": 3}),
    "cifar10, --dal 0": ("cifar10", {"dal": 0}, "cifar10"),
    "cifar10, --dal 1": ("cifar10", {"dal": 1}, "cifar10"),
    "cifar10, --dal 2": ("cifar10", {"dal": 2}, "cifar10"),
    "folder of 64x64, in memory": ("folder", {"image_size": 64}, {**SMALL, "n_levels": 4}),
    "folder of 64x64, decoded anew": ("folder", {"image_size": 64, "memory_mb": 0}, {**SMALL, "n_levels": 4}),
    "imagenet-oord 32x32": ("imagenet-oord", {"image_size": 32}, "imagenet32"),
    "imagenet-oord 64x64": ("imagenet-oord", {"image_size": 64}, "imagenet64"),
    "lsun_realnvp 64x64, cropped": ("lsun_realnvp", {"image_size": 64}, "lsun64"),
    "lsun 96x96": ("lsun", {"image_size": 96}, "lsun96"),
    "lsun 128x128": ("lsun", {"image_size": 128}, "lsun128"),
    "celeba 256x256": ("celeba", {"image_size": 256}, "celebahq256"),
}


def make_data(problem: str, size: int, folder: Path) -> str:
    """Random data for a problem; its data_dir."""
    rng = np.random.default_rng(0)
    if problem == "mnist":
        images = rng.integers(0, 256, (10000, 28, 28), np.uint8)
        labels = (np.arange(10000) % 10).astype(np.uint8)
        np.savez(folder / "mnist.npz", x_train=images, y_train=labels, x_test=images[:100], y_test=labels[:100])
    elif problem == "cifar10":
        (folder / "cifar-10-batches-py").mkdir()
        content = {b"data": rng.integers(0, 256, (2000, 3072), np.uint8), b"labels": [i % 10 for i in range(2000)]}
        for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
            (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content, 2))
    elif problem == "folder":
        from PIL import Image

        for number in range(1000):
            coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
            coarse.resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    elif problem != "digits":
        write_records(folder, 96 if problem == "lsun_realnvp" else size, size, rng)
    return "" if problem == "digits" else str(folder)


def write_records(folder: Path, stored: int, size: int, rng: np.random.Generator) -> None:
    """TFRecords of random images in eight shards."""
    import tensorflow as tf

    from data_loaders.tfrecords.examples import make_record
    from data_loaders.tfrecords.naming import shard_name

    count = RECORD_BYTES // (stored * stored * 3) // 8 * 8
    for split, shards, each in (("train", 8, count // 8), ("validation", 1, 8)):
        (folder / split).mkdir()
        for shard in range(shards):
            with tf.io.TFRecordWriter(str(folder / split / shard_name(split, size, shard, shards))) as writer:
                for _ in range(each):
                    writer.write(make_record(rng.integers(0, 256, (stored, stored, 3), np.uint8), 0))


def loader_rate(problem: str, options: dict[str, Any], seconds: float) -> float:
    """Images per second of one loader, in this process."""
    import data_loaders
    from glow_tf.training.config import TrainConfig

    config = TrainConfig()
    with tempfile.TemporaryDirectory() as folder:
        size = options.get("image_size", -1)
        data_dir = make_data(problem, size, Path(folder))
        data = data_loaders.load(problem, data_dir=data_dir, workers=config.pmap, readers=config.fmap, **options)
        height, width, _ = data.image_shape
        anchor = 8 if problem == "digits" else 32  # as make train has it
        batch = max(1, 64 * anchor**2 // (height * width))
        batches = iter(data.train_batches(batch))
        begin = time.perf_counter()
        while time.perf_counter() < begin + seconds / 3:  # files read once, prefetched batches used up
            next(batches)
        images, begin = 0, time.perf_counter()
        while time.perf_counter() < begin + seconds:
            x, _ = next(batches)
            images += len(x)
        rate = images / (time.perf_counter() - begin)
        del batches  # ends reading ahead, before the folder goes
        return rate


def training_rate(model: dict[str, Any] | str, size: int, channels: int, flops_per_second: float) -> float:
    """Images per second that training takes, at so many useful operations per second."""
    import glow_tf
    from glow_tf.training.presets import preset
    from tests.benchmarks.measure import forward_flops

    fields = dict(preset(model).model) if isinstance(model, str) else {**model, "image_size": size}
    return flops_per_second / (3 * forward_flops(glow_tf.GlowConfig(**{**fields, "channels": channels})))


def run(name: str, seconds: float, flops_per_second: float) -> dict[str, Any]:
    """One row, from a fresh process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--row", name, "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    problem, options, model = ROWS[name]
    size = options.get("image_size", {"digits": 8}.get(problem, 32))
    trains = training_rate(model, size, 1 if problem in ("digits", "mnist") else 3, flops_per_second)
    loads = float(done.stdout.splitlines()[-1])
    return {"loader": name, "loads": loads, "trains": trains, "times": loads / trains}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Measures the loaders on this machine: about four minutes.")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the rows whose name holds this")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each is measured (default 5)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "loaders.json", help="the figures, as JSON")
    parser.add_argument("--row", help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.row:
        print(loader_rate(*ROWS[args.row][:2], args.seconds))
        return
    from tests.benchmarks import start_up
    from tests.benchmarks.bench_glow import run as measure

    useful = 1e9 * measure({"task": "train", "memory": "store", "repeats": 3})["useful_gflops"]
    print(f"training: {useful / 1e9:.0f} useful GFLOP/s\n")
    print("| loader | images/s | training takes | times as many |\n|---|---|---|---|", flush=True)
    rows = []
    for name in ROWS:
        if args.only in name:
            row = run(name, args.seconds, useful)
            rows.append(row)
            print(f"| {name} | {row['loads']:.0f} | {row['trains']:.3g} | {row['times']:.0f} |", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    starts = [] if args.only else start_up.print_table()
    found = {"useful_gflops": useful / 1e9, "rows": rows, "starts": starts}
    args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
