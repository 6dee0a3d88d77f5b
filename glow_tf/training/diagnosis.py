"""What a failed training step is, and where it failed: the first level, step and layer, found in a second pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.flow.scan import UNRECOVERED
from glow_tf.layers.invertible_conv import SINGULAR, InvertibleConv1x1, InvertibleConv1x1LU
from glow_tf.layers.tensors import slice_step
from glow_tf.model import Glow
from glow_tf.training.config import TrainError
from glow_tf.training.workers import Workers

MAX_SKIPS = 10  # in a row: then the weights are at fault, and leaving out updates cannot help
MAX_ROLLBACKS = 10  # of a run: then the learning rate is a thousandth of what it was
ROLLBACK_LR = 0.5  # what a rollback multiplies the learning rate with
_LARGE = 1e15  # a thousand such numbers have a sum of squares that float32 still holds
_LENGTH = 300  # bytes of a finding that travel between workers


class DivergedError(TrainError):
    """A step's numbers are not finite, or a 1x1 convolution is close to singular.

    Attributes:
      step: the step, counted from 0: TrainState.step before it is taken.
    """

    def __init__(self, what: str, step: int) -> None:
        super().__init__(what)
        self.step = step


def describe(numbers: Mapping[str, float]) -> str:
    """What is wrong with a step's numbers, in words."""
    what = f"the loss is {numbers['loss']:.6g}, the norm of its gradient {numbers['grad_norm']:.6g}"
    if not numbers["condition"] < SINGULAR:
        what += (
            f", and the condition number of a 1x1 convolution {numbers['condition']:.3g},"
            f" where {SINGULAR:.0e} counts as singular"
        )
    if not numbers["recovery_error"] < UNRECOVERED:
        what += (
            f", and a level's input was recovered with a relative error of {numbers['recovery_error']:.3g}, where"
            f" {UNRECOVERED:.3g} counts as lost (--memory checkpoint or store keeps inputs)"
        )
    return what


def find_fault(glow: Glow, x: tf.Tensor, y: tf.Tensor | None, noise: tf.Tensor, context: Any = None) -> str | None:
    """The first thing that is wrong with a training step on this batch, in words; None where nothing is.

    Checked in turn: the weights, the 1x1 convolutions, every layer's output and log-determinant from the image to the
    latents, the gradients from the latents to the image. Levels and steps are counted from 0, as in variables' names.
    """
    batch = (x, y, noise, context)
    return _in_weights(glow) or _in_convolutions(glow) or _in_forward(glow, *batch) or _in_gradient(glow, *batch)


def agree(workers: Workers, finding: str | None) -> str | None:
    """What the lowest worker with a finding found, on all of them: the bad batch may be one worker's only."""
    texts = np.zeros([workers.size, _LENGTH], np.int32)
    data = np.frombuffer((finding or "").encode()[:_LENGTH], np.uint8)
    texts[workers.rank, : len(data)] = data
    texts = np.asarray(workers.sum(tf.constant(texts), "findings")).astype(np.uint8)
    return next((row.tobytes().rstrip(b"\0").decode(errors="replace") for row in texts if row.any()), None)


def _in_weights(glow: Glow) -> str | None:
    for name, variable in glow.named_variables().items():
        for row in _bad_rows(variable):
            return f"weight {name}{_step(name, row)} is not finite"
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


def _in_forward(glow: Glow, x: tf.Tensor, y: tf.Tensor | None, noise: tf.Tensor, context: Any = None) -> str | None:
    found: list[str] = []
    given = glow.contexts(glow.context_for(x, context), y)

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
                    z, log_det = layer.forward_with(weights[name], z, *level.step.given(layer, given[i]))
                    look(f"{level.name}, step {k}, {name}", z, log_det)
        return z

    def at_split(i: int, z: tf.Tensor) -> tf.Tensor:
        if not found:
            z, log_det = glow.splits[i].forward(z, given[i])
            look(glow.splits[i].name, z, log_det)
        return z

    z = glow.walk(glow.continuous(x, noise), at_level, at_split)
    if found:
        return found[0]
    top, log_det = glow.prior.forward(z, y, given[-1])
    if bad := _what_is_bad(top, log_det):
        return f"prior: its {bad}"
    losses = glow.losses(x, y, noise, context=context)
    for name, values in losses.items():
        if len(_bad_rows(values)):
            return f"{name}: not finite, though every layer's output is"
    return None


def _in_gradient(glow: Glow, x: tf.Tensor, y: tf.Tensor | None, noise: tf.Tensor, context: Any = None) -> str | None:
    names = {v.ref(): name for name, v in glow.named_variables().items()}
    variables = list(glow.trainable_variables)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(glow.losses(x, y, noise, context=context)["loss"])
    values = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    gradients = {names[v.ref()]: np.asarray(value) for v, value in zip(variables, values, strict=True)}
    found = [(name, rows[-1]) for name, gradient in gradients.items() if len(rows := _bad_rows(gradient))]
    if found:
        # The backward pass meets what is no part of a level first, then the last level's last step.
        name, row = min(found, key=lambda f: (f[0].startswith("level_"), -_level(f[0]), -f[1]))
        return f"the gradient of {name}{_step(name, row)} is not finite, though the loss is"
    name = max(gradients, key=lambda name: np.abs(gradients[name]).max())
    sizes = np.abs(gradients[name]).reshape(len(gradients[name]), -1).max(1)
    if sizes.max() < _LARGE:
        return None
    # All are numbers, but the sum of their squares is not.
    return f"the gradient of {name}{_step(name, int(np.argmax(sizes)))} is as large as {sizes.max():.2g}"


def _what_is_bad(z: tf.Tensor, log_det: tf.Tensor) -> str | None:
    for what, value in (("output", z), ("log-determinant", log_det)):
        if len(_bad_rows(value)):
            return f"{what} is not finite"
    return None


def _bad_rows(value: Any) -> list[int]:
    """Indices along the first axis (0 for a scalar) with a number that is not finite."""
    array = np.asarray(value)
    finite = np.isfinite(array) if array.dtype.kind == "f" else np.ones(array.shape, bool)
    return np.flatnonzero(~finite.reshape(len(array) if array.ndim else 1, -1).all(1)).tolist()


def _level(name: str) -> int:
    scope = name.partition("/")[0]
    return int(scope.removeprefix("level_")) if scope.startswith("level_") else 0


def _step(name: str, where: int) -> str:
    """A level's variables are stacked by step."""
    return f", step {where}," if name.startswith("level_") else ""
