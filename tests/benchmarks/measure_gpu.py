"""The figures of bench_gpu.py: `python -m tests.benchmarks.measure_gpu '{"tiny": true, "tasks": [...]}'`.

Prints one line of JSON for each task, as soon as it is measured: its figures, or the error that it ended with.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

_CALLS, _SECONDS, _WARM_UP = 20, 8.0, 3  # measured calls, or fewer in so many seconds, after these
_TINY = {"depth": 2, "n_levels": 2, "width": 8, "image_size": 8}

Task = dict[str, Any]
Figures = dict[str, Any]


def measure(task: Task, *, tiny: bool) -> Figures:
    """The figures of one task."""
    _allow_tf32(allowed=task.get("precision") == "tf32")  # where not, exact products take one pass instead of four
    held = _held()
    figures = {"device": _device, "products": _products, "launches": _launches}
    if task["what"] in figures:
        return figures[task["what"]](tiny=tiny)
    glow = _model(task, tiny=tiny)
    of_model = {"train": _train, "kernels": _kernels, "sample": _sample, "fold": _fold, "recover": _recover}
    found = of_model[task["what"]](task, glow)
    if "peak GiB" in found:
        found["peak GiB"] -= held  # what earlier models have not given back
    return found


def _allow_tf32(*, allowed: bool) -> None:
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(allowed)


def _device(*, tiny: bool) -> Figures:
    import tensorflow as tf

    del tiny
    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return {
        "GPU": details.get("device_name", "none"),
        "compute capability": ".".join(map(str, details.get("compute_capability", ()))),
        "TensorFlow": tf.__version__,
        "its CUDA": tf.sysconfig.get_build_info().get("cuda_version", "none"),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def _products(*, tiny: bool) -> Figures:
    """The rates of one large matrix product, and of copying memory."""
    import tensorflow as tf

    from tests.benchmarks.measure import matmul_peak

    figures = {}
    for precision in ("float32", "tf32", "bfloat16"):
        _allow_tf32(allowed=precision == "tf32")
        once = matmul_peak(tf, precision, 256 if tiny else 8192)
        figures[f"{precision} TFLOP/s"] = max(once() for _ in range(4)) / 1e12
    numbers = tf.ones([2**16 if tiny else 2**29])  # 2 GiB
    seconds, _ = _seconds(tf.function(lambda: tf.negative(numbers), autograph=False))
    return {**figures, "copy, read and written, GB/s": 2e-9 * 4 * int(numbers.shape[0]) / seconds}


def _launches(*, tiny: bool) -> Figures:
    """Kernels that a loop starts in a second, one after the other, by the executor and by XLA."""
    import tensorflow as tf

    steps, ops, matrix = (20 if tiny else 500), 20, tf.eye(16)

    def loop() -> tf.Tensor:
        def body(i: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            for _ in range(ops):
                x = tf.matmul(x, matrix)  # which XLA does not join
            return i + 1, x

        return tf.while_loop(lambda i, x: i < steps, body, (0, matrix), maximum_iterations=steps)[1]

    run = {name: tf.function(loop, autograph=False, jit_compile=name == "XLA") for name in ("executor", "XLA")}
    return {f"{name}, thousand a second": steps * ops / _seconds(call)[0] / 1e3 for name, call in run.items()}


def _model(task: Task, *, tiny: bool) -> Any:
    import glow_tf
    from glow_tf.training.presets import preset

    fields = {**preset(task["model"]).model, **(_TINY if tiny else {})}
    precision = task.get("precision", "float32")
    return glow_tf.Glow(fields, memory=task.get("memory", "reversible"), precision=precision, jit=task["jit"])


def _images(glow: Any, batch: int) -> Any:
    """uint8 pictures that are smooth, with a little noise."""
    import numpy as np

    rng = np.random.default_rng(0)
    height, width, channels = glow.config.image_shape
    rows, columns = np.mgrid[0:height, 0:width, 0:1][:2] / max(height, width)
    waves = rng.normal(size=[2, batch, 1, 1, channels]) * 6
    values = 128 + 100 * np.sin(waves[0] * rows + waves[1] * columns)
    return np.uint8(np.clip(values + rng.normal(size=values.shape) * 6, 0, 255))


def _train(task: Task, glow: Any) -> Figures:
    """A training step, as the training loop takes it: its numbers are read when the next one is under way."""
    import glow_tf
    from tests.benchmarks.measure import forward_flops

    x = _images(glow, task["batch"])
    trainer = glow_tf.Trainer(glow, {"optimizer": "adamax", "memory": task["memory"]})
    first = _timed(lambda: trainer.step(x, lr=1e-4))
    _reset_peak()  # XLA has tried products out
    taken: list[float] = []
    pending, end = trainer.dispatch(x, lr=1e-4), time.perf_counter() + _SECONDS
    clock = time.perf_counter()
    while len(taken) < _CALLS + _WARM_UP and (clock < end or len(taken) < 2):
        following = trainer.dispatch(x, lr=1e-4)
        trainer.read(pending)
        pending = following
        taken.append(time.perf_counter() - clock)
        clock = time.perf_counter()
    trainer.read(pending)
    seconds = statistics.median(taken[min(_WARM_UP, len(taken) - 1) :])
    return {
        "ms": seconds * 1e3,
        "images/s": task["batch"] / seconds,
        "useful TFLOP/s": 3 * forward_flops(glow.config) * task["batch"] / seconds / 1e12,
        "peak GiB": _peak(),
        "first call, s": first,
    }


def _kernels(task: Task, glow: Any) -> Figures:
    """What the GPU does in one training step, by TensorFlow's profiler."""
    import glow_tf

    x = _images(glow, task["batch"])
    trainer = glow_tf.Trainer(glow, {"optimizer": "adamax", "memory": task["memory"]})
    for _ in range(2):
        trainer.step(x, lr=1e-4)
    seconds = _timed(lambda: trainer.step(x, lr=1e-4))
    count, taken = profiled(lambda: trainer.step(x, lr=1e-4))
    most = {name: f"{count[name]} in {taken[name] * 1e3:.2f} ms" for name, _ in taken.most_common(25)}
    busy = sum(taken.values())
    return {"ms without profiler": seconds * 1e3, "kernels": sum(count.values()), "GPU busy, ms": busy * 1e3, **most}


def profiled(call: Any) -> tuple[Counter[str], Counter[str]]:
    """({name: how many}, {name: seconds}) of the kernels and copies that a call makes the GPU do."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    count: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            call()
        space = xplane_pb2.XSpace()
        space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    for plane in space.planes:
        if not plane.name.startswith("/device:GPU"):
            continue
        for line in plane.lines:
            if not line.name.startswith("Stream"):
                continue
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name[:60]
                count[name] += 1
                seconds[name] += event.duration_ps * 1e-12
    return count, seconds


def _sample(task: Task, glow: Any) -> Figures:
    def call() -> Any:
        return glow.sample(task["batch"], temperature=0.7, seed=0)

    first = _timed(call)
    seconds, longest = _seconds(call)
    return {"ms": seconds * 1e3, "longest, ms": longest * 1e3, "first call, s": first}


def _fold(task: Task, glow: Any) -> Figures:
    """What every call does once with the weights: inverses, determinants, folding."""
    import tensorflow as tf

    def folded() -> Any:
        return [level.folded().steps.inverse for level in glow.levels]

    run = tf.function(folded, autograph=False)
    first = _timed(run)
    return {"ms": _seconds(run)[0] * 1e3, "first call, s": first}


def _recover(task: Task, glow: Any) -> Figures:
    """How far decode(encode(x)) is from x after a few steps of training, whatever TensorFlow may round to TF32."""
    import numpy as np

    import glow_tf
    from glow_tf.flow.quantization import middle_of_bins

    x = _images(glow, task["batch"])
    glow.initialize(x)
    trainer = glow_tf.Trainer(glow, {"optimizer": "adamax", "memory": "reversible"})
    for _ in range(10):
        trainer.step(x, lr=1e-3)
    figures: Figures = {}
    for allowed in (False, True):
        _allow_tf32(allowed=allowed)
        glow._functions = None  # what is traced already keeps the switch as it was
        eps = glow.encode(x)
        wanted = glow.continuous(x, middle_of_bins(glow.config, x, glow.dtype))
        error = float(np.abs(glow.decode_continuous(eps) - wanted).max()) * glow.config.n_bins
        same = glow.decode(eps).numpy() == x // (256 // glow.config.n_bins) * (256 // glow.config.n_bins)
        words = "TF32 allowed" if allowed else "TF32 off"
        figures |= {f"error in bins, {words}": error, f"wrong pixels, {words}": int(np.sum(~same))}
    return figures


def _seconds(call: Any) -> tuple[float, float]:
    """Of one call, with its result on the host: (median, longest)."""
    taken: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(taken) < _CALLS + _WARM_UP and (time.perf_counter() < end or len(taken) < 2):
        taken.append(_timed(call))
    taken = taken[min(_WARM_UP, len(taken) - 1) :]
    return statistics.median(taken), max(taken)


def _timed(call: Any) -> float:
    """Seconds of one call, until a number of each of its results is on the host."""
    import tensorflow as tf

    start = time.perf_counter()
    for result in tf.nest.flatten(call()):
        if tf.is_tensor(result):
            tf.reshape(result, [-1])[0].numpy()
    return time.perf_counter() - start


def _held() -> float:
    """GiB of the GPU's memory that are in use; 0 without a GPU."""
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return 0.0
    return tf.config.experimental.get_memory_info("GPU:0")["current"] / 2**30


def _reset_peak() -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")


def _peak() -> float:
    """GiB of the GPU's memory since `_reset_peak`, or of this process's since ever."""
    import tensorflow as tf

    from tests.benchmarks.measure import peak_memory

    return peak_memory(tf, "gpu" if tf.config.list_physical_devices("GPU") else "cpu") / 1024


def main() -> None:
    """Measures what standard input asks for."""
    from data_loaders.tensorflow_import import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, enable=True)
    asked = json.loads(sys.argv[1])
    tiny = asked["tiny"] or not tf.config.list_physical_devices("GPU")
    for task in asked["tasks"]:
        with contextlib.redirect_stdout(sys.stderr):
            try:
                figures = measure(task, tiny=tiny)
            except Exception as error:  # the others are measured all the same
                figures = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        print(json.dumps(figures), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
