"""reconstruction_cost: memory and time of a training step against depth, for the three gradient memory strategies."""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from glow_tf.experiments import charts
from glow_tf.experiments.study import Run, Study
from glow_tf.flow.memory import MEMORY

ABOUT = "memory and time of a training step against depth: store, checkpoint, reversible"
SOURCE = "Glow, section 2"
PUBLISHED = {"memory": "constant in depth, as each layer's input can be recovered (RevNet, Gomez et al. 2017)"}
PROBLEMS: dict[str, str] = {}
ONE_MODEL = False
_DEPTHS = {"tiny": (4, 16), "small": (4, 8, 16, 32), "paper": (8, 16, 32, 64)}
_MODEL = {
    "tiny": {"image_size": 32, "n_levels": 2, "width": 32, "batch": 16},
    "small": {"image_size": 32, "n_levels": 3, "width": 128, "batch": 32},
    "paper": {"image_size": 32, "n_levels": 3, "width": 512, "batch": 16},
}
_STEPS = 3


def runs(study: Study) -> dict[str, Run]:
    """No trainings: single steps, each kind in a process of its own, which shows its peak memory."""
    return {}


def conclude(study: Study) -> dict[str, Any]:
    """Measures what OUT/measured.json does not hold yet, and draws memory and time against depth."""
    path = study.out / "measured.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    wanted = [(memory, depth) for depth in _DEPTHS[study.scale] for memory in MEMORY]
    begin, first = time.monotonic(), len(rows)
    for i, (memory, depth) in enumerate(wanted[first:], start=1):
        task = {**_MODEL[study.scale], "memory": memory, "depth": depth}
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows.append({**task, **pool.submit(measure, task).result()})
        path.write_text(json.dumps(rows, indent=1) + "\n")
        left = (time.monotonic() - begin) / i * (len(wanted) - first - i)
        mib, seconds = rows[-1]["mib"], rows[-1]["seconds"]
        print(f"{memory}, K={depth}: {mib:.0f} MiB, {seconds:.3g} s a step; {left:.0f} s left", flush=True)
    with charts.figure(study, 2, height=3.4) as panels:
        found: dict[str, Any] = {}
        for axis, key, title in zip(panels, ("mib", "seconds"), ("peak memory, MiB", "seconds a step"), strict=True):
            for memory in MEMORY:
                points = {row["depth"]: row[key] for row in rows if row["memory"] == memory}
                axis.plot(list(points), list(points.values()), "o-", label=memory)
                found.setdefault(memory, {})[f"{title}, K={max(points)}"] = points[max(points)]
                if key == "mib":
                    growth = (points[max(points)] - points[min(points)]) / (max(points) - min(points))
                    found[memory]["MiB for each step of flow"] = growth
            axis.set(xlabel="depth K", title=title, ylim=(0, None))
            axis.grid(alpha=0.3)
        panels[0].legend()
    return found


def measure(task: dict[str, Any]) -> dict[str, float]:
    """Peak memory of this process in MiB, and the median time of a training step in seconds."""
    from data_loaders.tensorflow_import import import_tensorflow
    from glow_tf.runtime import keep_freed_memory, prepare_gpus

    keep_freed_memory()
    import_tensorflow()
    prepare_gpus(tf32=False)
    import numpy as np

    import glow_tf

    fields = {name: task[name] for name in ("image_size", "n_levels", "width", "depth")}
    config = glow_tf.GlowConfig(**fields, flow_coupling="affine", learntop=True)
    glow = glow_tf.Glow(config, memory=task["memory"])
    x = np.random.default_rng(0).integers(0, 256, [task["batch"], *config.image_shape], dtype=np.uint8)
    glow.initialize(x)
    trainer = glow_tf.Trainer(glow, {"memory": task["memory"]})
    trainer.step(x, lr=1e-4)  # traces
    seconds = []
    for _ in range(_STEPS):
        begin = time.perf_counter()
        trainer.step(x, lr=1e-4)
        seconds.append(time.perf_counter() - begin)
    return {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "seconds": statistics.median(seconds)}
