"""One configuration, measured in a fresh process: `python -m tests.benchmarks.measure '{"task": "train", ...}'`.

Prints one line of JSON. Rates are set against the matrix-product peak of the same precision, measured before and after
every timed call, because the machine's speed drifts. bench_glow.py runs a list of these.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import Any

DEFAULTS = {
    "task": "train",  # train (a step with adamax and Polyak average) | decode | encode (with log_prob)
    "memory": "reversible",  # as Glow takes it; or how far the budget is from the least to the most, from 0 to 1
    "precision": "float32",
    "jit": False,
    "image_size": 32,
    "n_levels": 3,
    "depth": 32,
    "width": 512,
    "flow_coupling": "affine",
    "batch": 16,
    "repeats": 5,
    "device": "cpu",
}
_PEAK_SIDE = {"cpu": 1536, "gpu": 8192}


def forward_flops(config: Any) -> int:
    """Floating-point operations of the convolutions of one image's encoding (or decoding)."""
    total = 0
    for level in range(config.n_levels):
        height, width, channels = config.level_shape(level)
        half = channels // 2
        outputs = channels if config.flow_coupling == "affine" else half
        net = 9 * half * config.width + config.width**2 + 9 * config.width * outputs
        total += 2 * height * width * config.depth * (net + channels**2)
        if level < config.n_levels - 1:
            total += 2 * height * width * 9 * half * channels  # the split's prior
    return total


def matmul_peak(tf: Any, precision: str, side: int) -> Any:
    """A function that measures the matrix-product rate once, in FLOP/s."""
    dtype = tf.bfloat16 if precision == "bfloat16" else tf.float32
    a, b = (tf.cast(tf.random.stateless_normal([side, side], [0, i]), dtype) for i in (1, 2))
    product = tf.function(lambda: tf.matmul(a, b), autograph=False)
    product()

    def once() -> float:
        start = time.perf_counter()
        for _ in range(3):
            result = product()
        result[0, 0].numpy()
        return 3 * 2 * side**3 / (time.perf_counter() - start)

    return once


def measure(task: dict[str, Any], started: float) -> dict[str, Any]:
    """The figures of one task; `started` is when the process was asked for."""
    from data_loaders.tensorflow_import import import_tensorflow
    from glow_tf.runtime import keep_freed_memory

    keep_freed_memory()
    import_tensorflow()
    import numpy as np
    import tensorflow as tf

    import glow_tf

    fields = ("image_size", "n_levels", "depth", "width", "flow_coupling")
    config = glow_tf.GlowConfig(**{field: task[field] for field in fields}, learntop=True)
    glow = glow_tf.Glow(config, precision=task["precision"], jit=task["jit"])
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, [task["batch"], *config.image_shape], dtype=np.uint8)
    noise = rng.random(x.shape, dtype=np.float32) / config.n_bins
    glow.initialize(x, noise=noise)
    kept: dict[str, Any] = {}
    if task["task"] == "train":
        kept = keep(glow, task)
        trainer = glow_tf.Trainer(glow, {"optimizer": "adamax"})
        call, passes = (lambda: trainer.step(x, noise=noise, lr=1e-4)["loss"]), 3
    elif task["task"] == "decode":
        eps = glow.sample_latents(task["batch"], 0.7, seed=0)
        call, passes = (lambda: glow.decode(eps).numpy()), 1
    else:
        call, passes = (lambda: glow.log_prob(x, noise=noise).numpy()), 1
    call()
    first = time.time() - started
    call()
    memory = peak_memory(tf, task["device"])
    peak = matmul_peak(tf, task["precision"], _PEAK_SIDE[task["device"]])
    flops = passes * forward_flops(config) * task["batch"]
    seconds, cpu_seconds, ratios, peaks = [], [], [], [peak()]
    for _ in range(task["repeats"]):
        start, cpu = time.perf_counter(), time.process_time()
        call()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu)
        peaks.append(peak())
        ratios.append(flops / seconds[-1] / statistics.mean(peaks[-2:]))
    weights = sum(int(np.prod(v.shape)) for v in glow.trainable_variables)
    return {
        **task,
        **kept,
        "seconds": statistics.median(seconds),
        "cpu_seconds": statistics.median(cpu_seconds),  # of all cores, so other processes hardly count
        "images_per_second": task["batch"] / statistics.median(seconds),
        "useful_gflops": flops / statistics.median(seconds) / 1e9,
        "peak_gflops": statistics.median(peaks) / 1e9,
        "share_of_peak": statistics.median(ratios),
        "share_of_peak_range": [min(ratios), max(ratios)],
        "first_call_seconds": first,
        "peak_memory_mb": memory,
        "million_weights": weights / 1e6,
    }


def keep(glow: Any, task: dict[str, Any]) -> dict[str, Any]:
    """Sets what training keeps; returns budget, foreseen peak, and the share of `store`'s work saved."""
    from glow_tf.flow.budget import Demand
    from glow_tf.flow.memory import spelled
    from glow_tf.flow.room import choose, device_room

    room = device_room()
    process = {"held": room.held, "on_gpu": room.on_gpu, "jit": task["jit"]}
    demand = Demand(glow.config, task["batch"], task["precision"], **process)
    budget, asked = None, task["memory"]
    if not isinstance(asked, str):
        least, most = demand.peak("reversible"), demand.peak("store")
        budget = int(least + asked * (most - least))
        asked = {0: "reversible", 1: "store"}.get(asked, f"{budget}B")
    choice = choose(demand, asked, room)
    if choice.warning:  # it would be killed
        raise SystemExit(choice.warning)
    glow.memory = choice.memory
    return {
        "kept": spelled(choice.memory),
        "budget_mb": (budget or choice.needs) / 2**20,
        "foreseen_mb": choice.needs / 2**20,
        "work_saved": demand.saved(choice.memory) / demand.saved("store"),
    }


def peak_memory(tf: Any, device: str) -> float:
    """Most memory held so far, in MiB: of the process, or on the GPU."""
    if device == "gpu":
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    started = float(os.environ.get("BENCHMARK_STARTED", time.time()))
    print(json.dumps(measure({**DEFAULTS, **json.loads(sys.argv[1])}, started)))
