"""An export against the live model, in speed: `make bench`, or `python tests/benchmarks/bench_export.py --help`.

Both in one process, by turns, because the machine's speed drifts; each figure is the median of some calls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def calls_of(glow: Any, signatures: Any, batch: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """By name: (the live model's call, the export's), of the same work."""
    import numpy as np
    import tensorflow as tf

    import glow_tf

    config = glow.config
    x = np.random.default_rng(0).integers(0, 256, [batch, *config.image_shape], dtype=np.uint8)
    eps = glow.sample_latents(batch, 0.7, seed=0)
    flat, label = glow_tf.flatten_latents(eps), tf.zeros([batch], tf.int32)
    seed, temperature, noise = tf.constant(0), tf.constant(0.7), glow.draw_noise(x.shape, [0, 0])
    images = tf.constant(x)
    return {
        "decode": (lambda: glow.decode(eps), lambda: signatures["decode"](latents=flat, label=label)["images"]),
        "sample": (
            lambda: glow.sample(batch, temperature=0.7, seed=0),
            lambda: signatures["sample"](n=tf.constant(batch), label=label, temperature=temperature, seed=seed)[
                "images"
            ],
        ),
        "encode": (
            lambda: glow_tf.flatten_latents(glow.encode(x)),
            lambda: signatures["encode"](images=images, label=label)["latents"],
        ),
        "log_prob": (
            lambda: glow.log_prob(x, noise=noise),
            lambda: signatures["log_prob"](images=images, label=label, seed=seed)["log_prob"],
        ),
    }


def seconds(function: Callable[[], Any]) -> float:
    """Of one call, its result fetched."""
    begin = time.perf_counter()
    function().numpy()
    return time.perf_counter() - begin


def measure(settings: dict[str, Any], batch: int, repeats: int) -> list[dict[str, Any]]:
    """One row for each call and side; `settings` are GlowConfig's."""
    from glow_tf.runtime import keep_freed_memory

    keep_freed_memory()
    import numpy as np
    import tensorflow as tf

    import glow_tf

    glow = glow_tf.Glow(settings)
    glow.initialize(np.random.default_rng(0).integers(0, 256, [batch, *glow.config.image_shape], dtype=np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        version = glow_tf.export_saved_model(glow, folder)
        middle = time.perf_counter()
        loaded = tf.saved_model.load(str(version))
        print(f"exported in {middle - begin:.1f} s, loaded in {time.perf_counter() - middle:.1f} s", file=sys.stderr)
        rows = []
        for name, (live, exported) in calls_of(glow, loaded.signatures, batch).items():
            first = seconds(live), seconds(exported)
            took = [(seconds(live), seconds(exported)) for _ in range(repeats)]
            for side, what in enumerate(("live", "export")):
                median = statistics.median(pair[side] for pair in took)
                rows.append({"call": name, "model": what, "images_per_second": batch / median, "first": first[side]})
            ratios = [live / exported for live, exported in took]
            rows[-1]["times_the_live_speed"] = statistics.median(ratios)
            rows[-1]["range"] = [min(ratios), max(ratios)]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    lines = ["| call | live, images/s | export, images/s | export / live (range) |", "|---|---|---|---|"]
    for live, export in zip(rows[::2], rows[1::2], strict=True):
        low, high = export["range"]
        lines.append(
            f"| {live['call']} | {live['images_per_second']:.2f} | {export['images_per_second']:.2f} |"
            f" {export['times_the_live_speed']:.2f} ({low:.2f} to {high:.2f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures, prints the table, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--n_levels", type=int, default=3)
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--flow_coupling", default="affine")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "benchmark_export.json", help="the figures, as JSON"
    )
    args = parser.parse_args()
    fields = ("image_size", "n_levels", "depth", "width", "flow_coupling")
    settings = {field: getattr(args, field) for field in fields} | {"learntop": True}
    rows = measure(settings, args.batch, args.repeats)
    print(f"{settings}, batch {args.batch}\n\n{table(rows)}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
