"""Kernels that a GPU is asked to run, and a graph's nodes: `python tests/benchmarks/bench_launches.py`.

Counted in the programs (launches.py) of models that have the levels and steps of OpenAI's and are small otherwise,
which does not change the programs. With a GPU, or --times, the whole models' training steps are also timed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import tensorflow as tf

import glow_tf
from glow_tf import runtime
from glow_tf.flow.memory import MEMORY
from glow_tf.training.presets import preset
from tests.benchmarks.launches import by_xla, conditions, graphs_of, in_executor
from tests.benchmarks.measure_gpu import measure

MODELS = ("cifar10", "celebahq256")


def counts(model: str, memory: str, *, jit: bool, gpu: bool) -> dict[str, Any]:
    """{"forward": of a flow step, "backward": of one, "step": of a training step, "waits": of the host in it, "nodes"}.

    The nodes are those of the step's graph after TensorFlow's optimisers.
    `gpu` says in which form, whatever this machine has.
    """
    there, runtime.uses_gpu = runtime.uses_gpu, lambda: gpu
    try:
        return _counts(model, memory, jit=jit)
    finally:
        runtime.uses_gpu = there


def _counts(model: str, memory: str, *, jit: bool) -> dict[str, Any]:
    fields = preset(model).model
    small = {**fields, "width": 8, "image_size": 2 ** (fields["n_levels"] + 1)}
    glow = glow_tf.Glow(small, memory=memory, jit=jit)
    x = np.zeros([2, *glow.config.image_shape], np.uint8)
    trainer = glow_tf.Trainer(glow, {"memory": memory})
    traced, optimised = graphs_of(lambda: trainer.step(x))
    loops = in_executor(optimised)
    around = loops.pop("").total()
    if jit:
        levels = [glow.config.level_shape(i) for i in range(glow.config.n_levels)]
        per_level = [[c.total() for c in by_xla(glow.levels[i], (2, *s), memory)] for i, s in enumerate(levels)]
    else:
        bodies = [counter.total() for counter in loops.values()]
        half = len(bodies) // 2
        per_level = [list(pair) for pair in zip(sorted(bodies)[:half], sorted(bodies)[half:], strict=True)]
    forward, backward = (float(np.mean([level[i] for level in per_level])) for i in range(2))
    step = around + int(np.sum(per_level)) * glow.config.depth
    counted = {"step": step, "waits": conditions(traced) + 1, "nodes": len(optimised.node)}
    return {"forward": forward, "backward": backward, **counted}


def main() -> None:
    """Runs the counts."""
    parser = argparse.ArgumentParser(description="Counts the kernels of a flow step and of a training step.")
    parser.add_argument("--memory", choices=MEMORY, default="reversible", help="gradient memory strategy")
    parser.add_argument("--times", action="store_true", help="time training steps also where there is no GPU")
    args = parser.parse_args()
    print("| model | form | runs by | kernels a flow step: forward | backward | a training step | waits | nodes |")
    print("|---|---|---|---|---|---|---|---|")
    for model in MODELS:
        for form, jit in (("CPU", False), ("CPU", True), ("GPU", False), ("GPU", True)):
            found = counts(model, args.memory, jit=jit, gpu=form == "GPU")
            figures = " | ".join(f"{round(figure):,}" for figure in found.values())
            print(f"| {model} | {form} | {'XLA' if jit else 'executor'} | {figures} |", flush=True)
    if runtime.uses_gpu() or args.times:
        for model, batch in zip(MODELS, (64, 1), strict=True):
            for jit in (True, False):
                task = {"what": "train", "model": model, "batch": batch, "memory": args.memory, "jit": jit}
                print(model, "XLA" if jit else "executor", measure({**task, "precision": "float32"}, tiny=False))


if __name__ == "__main__":
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, enable=True)
    main()
