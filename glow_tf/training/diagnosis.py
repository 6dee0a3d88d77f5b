"""Where a step went wrong: the first level, step and layer, found by going through the model once more, slowly."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.layers.invertible_conv import SINGULAR, InvertibleConv1x1, InvertibleConv1x1LU
from glow_tf.layers.tensors import slice_step
from glow_tf.model import Glow
from glow_tf.training.distributed import Workers

_LARGE = 1e15  # a thousand such numbers have a sum of squares that float32 still holds
_LENGTH = 300  # bytes of a finding that travel between workers


def find_fault(glow: Glow, x: tf.Tensor, y: tf.Tensor | None, noise: tf.Tensor) -> str | None:
    """The first thing that is wrong with a training step on this batch, in words; None where all is well.

    Looked at in turn: the weights, the 1x1 convolutions, every layer's output and log-determinant from the image to the
    latents, the gradients from the latents to the image. Levels and steps are counted from 0, as in variables' names.
    """
    return (
        _in_weights(glow) or _in_convolutions(glow) or _in_forward(glow, x, y, noise) or _in_gradient(glow, x, y, noise)
    )


def agree(workers: Workers, finding: str | None) -> str | None:
    """What the lowest worker with a finding found, on all of them: the bad batch may be one worker's only."""
    has = np.zeros(workers.size)
    has[workers.rank] = finding is not None
    has = np.asarray(workers.sum(tf.constant(has), "who has a finding"))
    if not has.any():
        return None
    text = np.zeros(_LENGTH, np.int32)
    if workers.rank == int(np.argmax(has)):
        data = np.frombuffer((finding or "").encode()[:_LENGTH], np.uint8)
        text[: len(data)] = data
    text = np.asarray(workers.sum(tf.constant(text), "finding"))
    return text.astype(np.uint8).tobytes().rstrip(b"\0").decode(errors="replace")


def _in_weights(glow: Glow) -> str | None:
    for name, variable in glow.named_variables().items():
        where = _first_bad(variable)
        if where is not None:
            return f"weight {name}{_step(name, where)} is not finite"
    return None


def _in_convolutions(glow: Glow) -> str | None:
    """The 1x1 convolution that is nearest to singular, where it is close."""
    worst, what = 0.0, None
    for level in glow.levels:
        mixing = level.step.permutation
        if not isinstance(mixing, InvertibleConv1x1):
            continue
        weights = mixing.weights()
        matrices = mixing.matrices(weights)[0] if isinstance(mixing, InvertibleConv1x1LU) else weights["W"]
        values = np.linalg.svd(np.asarray(matrices, np.float64), compute_uv=False)
        for k, (largest, smallest) in enumerate(zip(values[:, 0], values[:, -1], strict=True)):
            condition = largest / smallest if smallest > 0 else np.inf
            if condition > max(worst, SINGULAR):
                worst = condition
                what = (
                    f"{level.name}, step {k}: the 1x1 convolution is close to singular, its smallest singular value"
                    f" is {smallest:.2g} and its condition number {condition:.2g}"
                )
    return what


def _in_forward(glow: Glow, x: tf.Tensor, y: tf.Tensor | None, noise: tf.Tensor) -> str | None:
    found: list[str] = []

    def look(where: str, z: tf.Tensor, log_det: tf.Tensor) -> None:
        if bad := _what_is_bad(z, log_det):
            found.append(f"{where}: its {bad}")

    def at_level(i: int, z: tf.Tensor) -> tf.Tensor:
        level = glow.levels[i]
        stacked = level.step.weights()
        for k in range(level.depth):
            weights = slice_step(stacked, k)
            for name, layer in level.step.layers:
                if not found:
                    z, log_det = layer.forward_with(weights[name], z)
                    look(f"{level.name}, step {k}, {name}", z, log_det)
        return z

    def at_split(i: int, z: tf.Tensor) -> tf.Tensor:
        if not found:
            z, log_det = glow.splits[i].forward(z)
            look(glow.splits[i].name, z, log_det)
        return z

    z = glow.walk(glow.continuous(x, noise), at_level, at_split)
    if found:
        return found[0]
    top, log_det = glow.prior.forward(z, y)
    if bad := _what_is_bad(top, log_det):
        return f"prior: its {bad}"
    losses = glow.losses(x, y, noise)
    for name, values in losses.items():
        if _first_bad(values) is not None:
            return f"{name}: not finite, though every layer's output is"
    return None


def _in_gradient(glow: Glow, x: tf.Tensor, y: tf.Tensor | None, noise: tf.Tensor) -> str | None:
    names = {v.ref(): name for name, v in glow.named_variables().items()}
    variables = list(glow.trainable_variables)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(glow.losses(x, y, noise)["loss"])
    gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    found = []
    for variable, gradient in zip(variables, gradients, strict=True):
        where = _last_bad(gradient)
        if where is not None:
            name = names[variable.ref()]
            found.append((name.startswith("level_"), name, where, _step(name, where)))
    if not found:  # all are numbers, but the sum of their squares is not
        largest = max(zip(variables, gradients, strict=True), key=lambda pair: float(tf.reduce_max(tf.abs(pair[1]))))
        size = float(tf.reduce_max(tf.abs(largest[1])))
        if size < _LARGE:
            return None
        rows = np.abs(largest[1].numpy()).reshape(largest[1].shape[0], -1).max(1)
        name = names[largest[0].ref()]
        return f"the gradient of {name}{_step(name, int(np.argmax(rows)))} is as large as {size:.2g}"
    # The backward pass meets what is no part of a level first, then the last level's last step.
    _, name, _, step = min(found, key=lambda f: (f[0], -_level(f[1]), -f[2]))
    return f"the gradient of {name}{step} is not finite, though the loss is"


def _what_is_bad(z: tf.Tensor, log_det: tf.Tensor) -> str | None:
    if _first_bad(z) is not None:
        return "output is not finite"
    if _first_bad(log_det) is not None:
        return "log-determinant is not finite"
    return None


def _bad_rows(value: Any) -> np.ndarray:
    """Indices along the first axis (0 for a scalar) with a number that is not finite."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return np.zeros(0, int)
    return np.flatnonzero(~np.isfinite(array.reshape(array.shape[0] if array.ndim else 1, -1)).all(1))


def _first_bad(value: Any) -> int | None:
    rows = _bad_rows(value)
    return int(rows[0]) if len(rows) else None


def _last_bad(value: Any) -> int | None:
    rows = _bad_rows(value)
    return int(rows[-1]) if len(rows) else None


def _level(name: str) -> int:
    scope = name.partition("/")[0]
    return int(scope.removeprefix("level_")) if scope.startswith("level_") else 0


def _step(name: str, where: int) -> str:
    """A level's variables are stacked by step."""
    return f", step {where}," if name.startswith("level_") else ""
