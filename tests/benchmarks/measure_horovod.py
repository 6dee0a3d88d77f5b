"""Training steps of one process or of one rank: `[horovodrun -np R] python measure_horovod.py '{"batch": 16, ...}'`.

Every process has one core of its own and prints a line of JSON: the seconds of each step, and when (in seconds since
1970) the last gradient of that step was there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


def main() -> None:
    """Takes the steps that the argument asks for."""
    task = json.loads(sys.argv[1])
    core = int(os.environ.get("HOROVOD_LOCAL_RANK", task.get("core", 0)))
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})  # before TensorFlow counts them
    import numpy as np
    import tensorflow as tf

    import glow_tf
    from glow_tf.runtime import keep_freed_memory
    from glow_tf.training import workers as distributed

    keep_freed_memory()
    workers = distributed.connect()
    config = glow_tf.GlowConfig(**task["model"], flow_coupling="affine", learntop=True)
    glow = glow_tf.Glow(config)
    x = np.random.default_rng(workers.rank).integers(0, 256, [task["batch"], *config.image_shape], dtype=np.uint8)
    glow.initialize(x)
    workers.broadcast(list(glow.named_variables().values()))
    trainer = glow_tf.Trainer(glow, {"compression": task.get("compression", "none")}, workers)
    seconds, computed = [], []
    if task.get("timed"):
        reduce = workers.mean

        def mean(tensor: tf.Tensor, name: str, *others: str) -> tf.Tensor:
            if name.startswith("gradient/"):
                with tf.control_dependencies([tensor]):
                    tf.numpy_function(lambda: latest.append(time.time()), [], [])
            return reduce(tensor, name, *others)

        workers.mean = mean  # type: ignore[assignment]
    for _ in range(task["steps"]):
        latest: list[float] = []
        start = time.perf_counter()
        trainer.step(x, lr=1e-4)
        seconds.append(time.perf_counter() - start)
        computed.append(max(latest, default=0.0))
    print("measured " + json.dumps({"seconds": seconds, "computed": computed}), flush=True)


if __name__ == "__main__":
    main()
