"""How exactly trained models invert extreme inputs, and how their 1x1 convolutions fare: curves over 5000 steps.

    python -m tests.reliability.numerics --problem cifar10 --data_dir data/cifar10 --chart docs/images/numerics.png

Three models of images averaged down to 8x8 are trained: three levels, whose top maps have one pixel, and one level of
128 steps, with affine and with additive coupling. Every 250 steps each goes there and back with test images, black,
white, constant and random ones, and with latents of 1 and 10 standard deviations. Errors of images are in bins (1/256):
below half a bin, every pixel comes back. Errors of latents are relative to the largest latent. Where numbers leave
float32 on the way, there is no error to state: "lost" counts the images and latents, of 56, to which that happens. At
the end latents of 10 standard deviations are undone step by step (undo.py).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf

import data_loaders
import glow_tf
from glow_tf.flow.quantization import middle_of_bins
from glow_tf.storage.files import atomic_write
from glow_tf.training import Trainer
from tests.reliability.undo import undo

MODELS: dict[str, dict[str, Any]] = {
    "L=3, K=16, tops of one pixel": {"n_levels": 3, "depth": 16},
    "L=1, K=128": {"n_levels": 1, "depth": 128},
    "L=1, K=128, additive": {"n_levels": 1, "depth": 128, "flow_coupling": 0},
}
COMMON = {"image_size": 8, "width": 16, "flow_coupling": 1, "learntop": True}
TRAIN = {"n_train": 8000, "n_batch_train": 16, "anchor_size": 8, "epochs_warmup": 1, "polyak_epochs": 1}


def inputs(data: Any) -> dict[str, np.ndarray]:
    """Eight images of every kind, uint8 [8, 8, 8, C]."""
    shape = (8, *data.image_shape)
    x, _ = next(iter(data.test_batches(8)))
    return {
        "test images": x.numpy(),
        "black": np.zeros(shape, np.uint8),
        "white": np.full(shape, 255, np.uint8),
        "constant": np.broadcast_to(np.arange(16, 256, 32, dtype=np.uint8).reshape(8, 1, 1, 1), shape),
        "random": np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8),
    }


def meter(glow: glow_tf.Glow, images: dict[str, np.ndarray]) -> Callable[[], dict[str, Any]]:
    """A function that measures the model as it is."""

    def largest(difference: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(tf.abs(difference), [1, 2, 3])

    @tf.function(autograph=False)
    def there_and_back(x: tf.Tensor) -> tf.Tensor:
        return largest(glow.from_latents(glow.to_latents(x)[0])[0] - x) * 256

    @tf.function(autograph=False)
    def back_and_there(eps: list[tf.Tensor]) -> tf.Tensor:
        again = glow.to_latents(glow.from_latents(eps)[0])[0]
        difference = tf.add_n([largest(a - e) for a, e in zip(again, eps, strict=True)])
        return difference / tf.reduce_max([largest(e) for e in eps], 0)

    def measure() -> dict[str, Any]:
        errors = {}
        for name, x in images.items():
            noise = middle_of_bins(glow.config, tf.constant(x), glow.dtype)
            errors[name] = there_and_back(glow.continuous(tf.constant(x), noise)).numpy()
        for sigma in (1, 10):
            errors[f"{sigma} sigma"] = back_and_there(glow.sample_latents(8, float(sigma), 0)).numpy()
        found: dict[str, Any] = {name: float(e[np.isfinite(e)].max(initial=0.0)) for name, e in errors.items()}
        found["lost"] = int(sum((~np.isfinite(e)).sum() for e in errors.values()))
        usual = [np.linalg.cond(level.step.permutation.W.numpy().astype(np.float64)) for level in glow.levels]
        found["condition"] = float(max(c.max() for c in usual))
        found["lost as"] = {n: int((~np.isfinite(e)).sum()) for n, e in errors.items() if not np.isfinite(e).all()}
        return found

    return measure


def train(name: str, data: Any, steps: int, every: int) -> list[dict[str, Any]]:
    """The measurements of one model, at every so many steps."""
    glow = glow_tf.Glow({**COMMON, **MODELS[name], "channels": data.image_shape[2]}, memory="store")
    x, y = data.init_batch(256)
    glow.initialize(x, y)
    trainer, measure, rows = Trainer(glow, TRAIN), meter(glow, inputs(data)), []
    for step, (x, y) in enumerate(data.train_batches(16).take(steps + 1)):
        if step % every == 0:
            rows.append({"step": step, **measure()})
            print(name, json.dumps(rows[-1]), flush=True)
        if step < steps:
            trainer.step(x, y)
    if glow.config.n_levels == 1:
        z, _ = glow.prior.inverse(glow.sample_latents(8, 10.0, 0)[-1])
        rows[-1]["undone"] = undo(glow, z)
        print(name, "10 sigma undone:", json.dumps(rows[-1]["undone"][::8] + rows[-1]["undone"][-1:]), flush=True)
    return rows


def chart(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Errors and condition numbers against steps, a row of axes for each model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(curves), 3, figsize=(11, 3 * len(curves)), layout="constrained", squeeze=False)
    for row, (name, measured) in zip(axes, curves.items(), strict=True):
        steps = [m["step"] for m in measured]
        latents = [k for k in measured[0] if k.endswith("sigma")]
        kinds = [k for k in measured[0] if k not in ("step", "condition", "lost", "lost as", "undone", *latents)]
        parts = (("image error, bins", kinds), ("latent error, relative", latents), ("", ["condition", "lost"]))
        for axis, (title, keys) in zip(row, parts, strict=True):
            for key in keys:
                axis.semilogy(steps, [m[key] for m in measured], label=key)
            axis.set(title=": ".join(filter(None, (name, title))), xlabel="training steps")
            axis.title.set_fontsize(9)
            axis.legend(fontsize=7)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problem", default="digits")
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--every", type=int, default=250)
    parser.add_argument("--only", default="", metavar="TEXT", help="only the models whose name holds this")
    parser.add_argument("--out", type=Path, default=Path("numerics.json"))
    parser.add_argument("--chart", type=Path)
    arguments = parser.parse_args()
    curves: dict[str, list[dict[str, Any]]] = {}
    data = data_loaders.load(arguments.problem, data_dir=arguments.data_dir, image_size=8)
    for name in (name for name in MODELS if arguments.only in name):
        curves[name] = train(name, data, arguments.steps, arguments.every)
        arguments.out.write_text(json.dumps(curves, indent=1) + "\n")
    if arguments.chart:
        chart(curves, arguments.chart)
    for name, rows in curves.items():
        worst = {key: max(row[key] for row in rows) for key in rows[0] if key not in ("step", "lost as", "undone")}
        print(name, "worst:", json.dumps({key: float(f"{value:.3g}") for key, value in worst.items()}))


if __name__ == "__main__":
    main()
