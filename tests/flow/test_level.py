"""A level is its steps one after another, whatever the loop does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.flow.level import FlowLevel
from glow_tf.flow.step import FlowStep
from tests.near import assert_near
from tests.random_weights import perturb
from tests.tolerances import LEVEL, NETWORK

DEPTH, CHANNELS, WIDTH = 3, 4, 5
KINDS: dict[str, dict[str, Any]] = {
    "reverse, additive": {"permutation": "reverse", "coupling": "additive"},
    "shuffle, affine": {"permutation": "shuffle", "coupling": "affine"},
    "invconv, affine": {"permutation": "invconv", "coupling": "affine"},
    "LU, additive": {"lu_decomposed": True, "coupling": "additive"},
    "invconv, affine, bfloat16": {"coupling": "affine", "compute_dtype": tf.bfloat16},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def level_and_steps(kind, dtype=tf.float64):
    """A level with random weights, and lone steps with the same weights."""
    level = perturb(FlowLevel(DEPTH, CHANNELS, WIDTH, name="level", dtype=dtype, seed=1, **KINDS[kind]))
    steps = [FlowStep(CHANNELS, WIDTH, dtype=dtype, seed=2, **KINDS[kind]) for _ in range(DEPTH)]
    for k, step in enumerate(steps):
        step.assign_weights(tf.nest.map_structure(lambda weight, k=k: weight[k], level.step.weights()))
    return level, steps


def images(n=3, seed=0, dtype=np.float64):
    return tf.constant(np.random.default_rng(seed).standard_normal([n, 2, 3, CHANNELS]).astype(dtype))


def assert_same(ours, wanted, kind):
    """Both results of a direction."""
    tolerance = LEVEL["bfloat16" if "bfloat16" in kind else "value"]
    for what, a, b in zip(("result", "log_det"), ours, wanted, strict=True):
        assert_near(what, a, b, tolerance)


@kinds
@pytest.mark.parametrize("memory", ["store", "checkpoint", "reversible"])
def test_forward(kind, memory):
    (level, steps), x = level_and_steps(kind), images()
    wanted, total = x, 0.0
    for step in steps:
        wanted, log_det = step.forward(wanted)
        total += log_det
    assert_same(level.forward(x, memory), (wanted, total), kind)


@kinds
def test_inverse(kind):
    (level, steps), y = level_and_steps(kind), images()
    wanted, total = y, 0.0
    for step in reversed(steps):
        wanted, log_det = step.inverse(wanted)
        total += log_det
    assert_same(level.inverse(y), (wanted, total), kind)


@kinds
def test_initialize(kind):
    (level, steps), x = level_and_steps(kind), images(16)
    wanted = x
    for step in steps:
        wanted, _ = step.initialize(wanted)
    assert_near("result", level.initialize(x), wanted, LEVEL["initialised"])
    for k, step in enumerate(steps):
        for stacked, variable in zip(level.step.variables, step.variables, strict=True):
            assert_near(f"{variable.name} of step {k}", stacked[k], variable, LEVEL["initialised"])


def test_a_step_is_its_three_layers():
    _, (step, *_) = level_and_steps("invconv, affine")
    x = images()
    z, total = x, 0.0
    for layer in (step.actnorm, step.permutation, step.coupling):
        z, log_det = layer.forward(z)
        total += log_det
    y, log_det = step.forward(x)
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal(log_det, total)


def test_a_step_initializes_all_its_actnorms():
    _, (step, *_) = level_and_steps("invconv, affine")
    x = 7 + 3 * images(16)
    y, log_det = step.initialize(x)
    deviations = tf.math.reduce_std(step.actnorm.forward(x)[0], [0, 1, 2])
    assert_near("standard deviations", deviations, np.ones(CHANNELS), NETWORK["std"])
    assert_same((y, log_det), step.forward(x), "invconv, affine")
