"""What a training step costs: run it in two checkouts, turn by turn, to compare them.

    python -m tests.reliability.step_cost --memory reversible

The CIFAR-10 model with 8 steps a level at batch 16. Time is CPU time, of all threads, which other programs on
the machine change less than the clock's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

import glow_tf
from glow_tf.runtime import keep_freed_memory

MODEL = {"image_size": 32, "n_levels": 3, "depth": 8, "width": 512, "flow_coupling": 1, "learntop": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--memory", choices=("store", "checkpoint", "reversible"), default="reversible")
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    keep_freed_memory()
    glow = glow_tf.Glow(MODEL, memory=arguments.memory)
    x, y = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype(np.uint8), np.zeros(16, np.int32)
    glow.initialize(x, y)
    trainer, seconds = glow_tf.Trainer(glow, {"n_train": 50000}), []
    for step in range(arguments.steps + 2):
        begin = time.process_time()
        trainer.step(x, y, lr=1e-4)
        if step >= 2:
            seconds.append(time.process_time() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"median s": round(float(np.median(seconds)), 2), "least s": min(seconds), "peak MiB": peak}))


if __name__ == "__main__":
    main()
