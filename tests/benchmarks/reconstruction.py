"""How well the reversible backward pass recovers the inputs of a level's steps: a curve over its depth.

`python -m tests.benchmarks.reconstruction MODEL ...` takes what `glow_tf.save` wrote (model/ of a run), or folders that
hold it, and images of the digits unless --problem and --data_dir name others. It prints a table, and writes JSON and,
with --chart, a PNG.
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import tensorflow as tf

import data_loaders
import glow_tf
from glow_tf.flow.folded import FoldedStep, ForwardStep, InverseStep, StepMap
from glow_tf.flow.level import FlowLevel
from glow_tf.flow.memory import segments_for
from glow_tf.flow.scan import scan
from glow_tf.layers.products import Arithmetic


def recovery_errors(glow: glow_tf.Glow, x: Any, noise: Any, compute_dtype: Any = None) -> list[list[float]]:
    """For each level, by how much the inputs of its steps are missed, the last step first.

    Entry j is the largest difference between the input of step K-1-j and what is recovered of it from the level's
    output, after undoing j+1 steps, relative to the input's largest magnitude.
    """
    compute, results = compute_dtype or glow.compute_dtype, []

    def at_level(i: int, z: tf.Tensor) -> tf.Tensor:
        z, errors = _level_errors(glow.levels[i], z, compute)
        results.append(errors)
        return z

    glow.walk(glow.continuous(tf.convert_to_tensor(x), noise), at_level, lambda i, z: z)
    return results


def _level_errors(level: FlowLevel, x: tf.Tensor, compute: Any) -> tuple[tf.Tensor, list[float]]:
    def run(kind: type[StepMap], weights: FoldedStep, start: tf.Tensor) -> tf.Tensor:
        return scan(kind(level.coupling, Arithmetic.of(compute)), weights, start, segments_for("reversible", 1))[0]

    kinds = (ForwardStep, InverseStep)
    forward, inverse = (tf.function(functools.partial(run, kind), autograph=False) for kind in kinds)
    steps = level.folded().steps
    lone = [tf.nest.map_structure(lambda w, k=k: w[k : k + 1], steps) for k in range(level.depth)]
    values = [x]
    for step in lone:
        values.append(forward(step, values[-1]))
    recovered, errors = values[-1], []
    for step, wanted in zip(reversed(lone), reversed(values[:-1]), strict=True):
        recovered = inverse(step, recovered)
        errors.append(float(tf.reduce_max(tf.abs(recovered - wanted)) / tf.reduce_max(tf.abs(wanted))))
    return values[-1], errors


def chart(curves: dict[str, list[float]], path: Path) -> None:
    """The curves, one line each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 3.4), layout="constrained")
    for name, errors in curves.items():
        axis.semilogy(range(1, len(errors) + 1), errors, label=name)
    axis.set(xlabel="steps undone", title="error of the recovered input, relative to its largest magnitude")
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description="How well the reversible backward pass recovers its inputs.")
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="folders of saved models")
    parser.add_argument("--problem", default="digits", help="whose test images")
    parser.add_argument("--data_dir", default="", help="where they are")
    parser.add_argument("--n", type=int, default=8, help="how many images")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"], help="of the coupling networks")
    parser.add_argument("--out", type=Path, default=Path("runs/reconstruction.json"), help="the curves, as JSON")
    parser.add_argument("--chart", type=Path, help="the curves, as a PNG (needs matplotlib)")
    args = parser.parse_args()
    curves: dict[str, list[float]] = {}
    for folder in args.models:
        glow = glow_tf.load(folder)
        data = data_loaders.load(args.problem, data_dir=args.data_dir, image_size=glow.config.height)
        x = next(iter(data.test_batches(args.n)))[0]
        for precision in args.precision:
            levels = recovery_errors(glow, x, glow.draw_noise(x.shape, [0, 0]), precision)
            for i, errors in enumerate(levels):
                curves[f"{folder.name}, level {i + 1}, {precision}"] = errors
    points = sorted({2**i for i in range(8) if 2**i <= max(map(len, curves.values()))})
    print("| steps undone | " + " | ".join(map(str, points)) + " |\n" + "|---" * (len(points) + 1) + "|")
    for name, errors in curves.items():
        cells = [f"{errors[p - 1]:.1e}" if p <= len(errors) else "" for p in points]
        print(f"| {name} | " + " | ".join(cells) + " |")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(curves, indent=1) + "\n")
    if args.chart:
        chart(curves, args.chart)


if __name__ == "__main__":
    main()
