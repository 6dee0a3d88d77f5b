"""What a training step should take on paper, by GPU and number of GPUs: the tables of docs/gpu.md.

`python -m tests.benchmarks.estimate`. Every term is a formula of the model's configuration and of the data sheets
below; kernels are counted (bench_launches.py). A step takes at least its largest term and at most their sum.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

from glow_tf.config import GlowConfig
from glow_tf.training.presets import preset
from tests.benchmarks.bench_launches import counts
from tests.benchmarks.measure import forward_flops


class GPU(NamedTuple):
    """Of the maker's data sheets: dense products in TFLOP/s (None: no such), GB/s of memory and of NVLink one way."""

    name: str
    float32: float
    tf32: float | None
    bfloat16: float | None
    memory: float
    nvlink: float


GPUS = (
    GPU("V100 SXM2", 15.7, None, None, 900, 150),
    GPU("A100 SXM 80 GB", 19.5, 156, 312, 2039, 300),
    GPU("H200 SXM", 67, 494, 989, 4800, 450),
)
BATCHES = {"cifar10": 64, "celebahq256": 1}  # images per GPU, as OpenAI trained
NETWORK = 12.5  # GB/s: 100 Gb/s for each node of eight
SHARE = {"arithmetic": 0.5, "memory": 0.7, "allreduce": 0.7}  # of the data sheet's rates; assumed
LAUNCH = 3e-6  # seconds a kernel that XLA starts; assumed
EVALUATIONS = 4  # of the networks' products in a step, in units of a forward pass: forward, again, two gradients
_BYTES = 4


def weights(config: GlowConfig) -> int:
    """Trainable numbers, but for priors and biases, which are few."""
    total = 0
    for level in range(config.n_levels):
        channels = config.level_shape(level)[2]
        total += config.depth * (channels**2 + _network(config, channels))
    return total


def _network(config: GlowConfig, channels: int) -> int:
    half, outputs = channels // 2, channels if config.flow_coupling == "affine" else channels // 2
    return 9 * (half + 1) * config.width + config.width**2 + 9 * (config.width + 1) * outputs


def traffic(config: GlowConfig, batch: int) -> float:
    """Bytes that a step reads from and writes to the GPU's memory, memory="reversible", float32."""
    total = 0.0
    for level in range(config.n_levels):
        height, width, channels = config.level_shape(level)
        outputs = channels if config.flow_coupling == "affine" else channels // 2
        rows, hidden = batch * height * width, 2 * config.width
        network = (
            9 * (channels // 2) + 9 + hidden + 9 * outputs
        )  # windows, hidden layers, taps of the last convolution
        # written and read: by two evaluations and by the gradient, which reads the activations once more
        numbers = rows * (3 * 2 * network + network) + 3 * 2 * 6 * rows * channels
        total += config.depth * numbers * _BYTES
    # weights: folded for two loops; their gradients, stacked and unfolded; adamax and average: 4 read, 4 written
    return total + weights(config) * _BYTES * (2 * 2 + 2 * 3 + 8 + 1)


def allreduce(config: GlowConfig, gpu: GPU, gpus: int) -> float:
    """Seconds to average the gradients, float32, in a ring; across nodes of eight each node's network sets the pace."""
    rate = gpu.nvlink if gpus <= 8 else NETWORK
    return 0.0 if gpus == 1 else 2 * (gpus - 1) / gpus * weights(config) * _BYTES / (SHARE["allreduce"] * rate * 1e9)


def terms(model: str, gpu: GPU, gpus: int, precision: str, kernels: int) -> dict[str, float]:
    """Seconds of a training step by term."""
    config = GlowConfig(**preset(model).model)
    flops = EVALUATIONS * forward_flops(config) * BATCHES[model]
    rate = getattr(gpu, precision)
    return {
        "arithmetic": flops / (SHARE["arithmetic"] * rate * 1e12),
        "memory": traffic(config, BATCHES[model]) / (SHARE["memory"] * gpu.memory * 1e9),
        "launches": kernels * LAUNCH,
        "allreduce": allreduce(config, gpu, gpus),
    }


def main() -> None:
    """Prints the tables."""
    argparse.ArgumentParser(description="What a training step should take on paper.").parse_args()
    for model, batch in BATCHES.items():
        config = GlowConfig(**preset(model).model)
        kernels = counts(model, "reversible", jit=True, gpu=True)["step"]
        print(f"\n{model}: {weights(config) / 1e6:.0f} million weights, {batch} images a GPU,"
              f" {EVALUATIONS * forward_flops(config) * batch / 1e12:.2f} TFLOP and"
              f" {traffic(config, batch) / 1e9:.0f} GB a step, {kernels:,} kernels\n")  # fmt: skip
        print("| GPU | precision | arithmetic | memory | launches | allreduce: 8 | 40 | a step: 1 | 8 | 40 | set by |")
        print("|---" * 11 + "|")
        for gpu in GPUS:
            for precision in ("float32", "tf32", "bfloat16"):
                if getattr(gpu, precision) is not None:
                    print(f"| {gpu.name} | {precision} | {_cells(model, gpu, precision, kernels)} |")


def _cells(model: str, gpu: GPU, precision: str, kernels: int) -> str:
    found = {n: terms(model, gpu, n, precision, kernels) for n in (1, 8, 40)}
    one = found[1]
    numbers = [one["arithmetic"], one["memory"], one["launches"], found[8]["allreduce"], found[40]["allreduce"]]
    cells = [f"{1e3 * seconds:.1f}" for seconds in numbers]
    cells += [f"{1e3 * max(found[n].values()):.0f} to {1e3 * sum(found[n].values()):.0f}" for n in found]
    decides = [max(found[n], key=found[n].__getitem__) for n in (1, 40)]
    return " | ".join([*cells, "; ".join(dict.fromkeys(decides))])


if __name__ == "__main__":
    main()
