"""What the matrix products of a training step would take alone: the limit of `train` in bench_glow.py on this machine.

`python -m tests.benchmarks.products`: for every level of the CIFAR-10 model, each product of a step's coupling network,
its own rate, and the share of the peak that a training step could reach if nothing but these products took time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import tensorflow as tf

import glow_tf
from tests.benchmarks.measure import matmul_peak

BATCH, WIDTH = 16, 512


def products(rows: int, half: int, dtype: tf.DType) -> dict[str, tuple[Any, int, int]]:
    """{name: (the product, its floating-point operations, times in a forward pass)}; 0 times: in the gradient."""
    random = [tf.cast(tf.random.stateless_normal(shape, [0, 0]), dtype) for shape in (
        [rows, 9 * half + 10], [9 * half + 10, WIDTH], [rows, WIDTH], [WIDTH, WIDTH], [WIDTH, 18 * half],
        [rows, 18 * half],
    )]  # fmt: skip
    windows, first, hidden, second, last, taps = random
    zeros = tf.zeros([WIDTH], dtype)

    def relu(product: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(tf.nn.bias_add(product, zeros))

    sizes = {
        "first": 2 * rows * first.shape[0] * WIDTH,
        "second": 2 * rows * WIDTH**2,
        "last": 36 * rows * half * WIDTH,
    }
    return {
        "first, relu": (lambda: relu(tf.matmul(windows, first)), sizes["first"], 1),
        "second, relu": (lambda: relu(tf.matmul(hidden, second)), sizes["second"], 1),
        "last": (lambda: tf.matmul(hidden, last), sizes["last"], 1),
        "to hidden 2": (lambda: tf.matmul(taps, last, transpose_b=True), sizes["last"], 0),
        "to hidden 1": (lambda: tf.matmul(hidden, second, transpose_b=True), sizes["second"], 0),
        "to the input": (lambda: tf.matmul(hidden, first, transpose_b=True), sizes["first"], 0),
        "to last": (lambda: tf.transpose(tf.matmul(taps, hidden, transpose_a=True)), sizes["last"], 0),
        "to second": (lambda: tf.matmul(hidden, hidden, transpose_a=True), sizes["second"], 0),
        "to first": (lambda: tf.matmul(tf.transpose(windows), hidden), sizes["first"], 0),
    }


def seconds_of(function: Any, repeats: int) -> float:
    """Of one call, the median of `repeats` groups of calls."""
    calls = 10
    run = tf.function(lambda: tf.reduce_sum(function()[:1, :1]), autograph=False)
    run()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            result = run()
        result.numpy()
        taken.append((time.perf_counter() - start) / calls)
    return statistics.median(taken)


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description="What a training step's matrix products take alone.")
    parser.add_argument("--repeats", type=int, default=9, help="groups of ten calls, of which the median is taken")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the products")
    args = parser.parse_args()
    config = glow_tf.GlowConfig(image_size=32, n_levels=3, depth=32, width=WIDTH, flow_coupling="affine")
    peak = matmul_peak(tf, args.precision, 1536)
    peaks, useful, alone = [peak()], 0.0, {"store": 0.0, "reversible": 0.0}
    print("| level | product | ms | share of the peak |\n|---|---|---|---|")
    for level in range(config.n_levels):
        height, width, channels = config.level_shape(level)
        for name, (function, flops, forward) in products(
            BATCH * height * width, channels // 2, tf.as_dtype(args.precision)
        ).items():
            seconds = seconds_of(function, args.repeats)
            peaks.append(peak())
            share = flops / seconds / statistics.mean(peaks[-2:])
            print(f"| {level + 1} | {name} | {seconds * 1e3:.2f} | {share:.2f} |", flush=True)
            useful += flops * config.depth
            for memory, evaluations in (("store", 1), ("reversible", 2)):
                alone[memory] += seconds * config.depth * (evaluations if forward else 1)
    for memory, seconds in alone.items():
        limit = useful / seconds / statistics.median(peaks)
        print(f"{memory}: {seconds:.2f} s a step for the products alone, {limit:.2f} of the peak at most")


if __name__ == "__main__":
    main()
