"""A level that is given a context: its gradients in every memory mode, to the context too."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.flow.level import FlowLevel
from glow_tf.flow.memory import EVERYTHING, MEMORY, Segment
from tests.flow.test_scan import amplifications, assert_same, operations_of_training_gradient
from tests.near import assert_near
from tests.random_weights import perturb
from tests.tolerances import BFLOAT16_GRADIENT, JIT, LEVEL, rounded

DEPTH, CHANNELS, GIVEN = 3, 4, 2
COUPLINGS = ["additive", "affine"]
DTYPES = [tf.float32, tf.float64]


@functools.cache
def make_level(coupling="affine", dtype=tf.float64, compute_dtype=None, *, jit=False):
    sizes = {"context_channels": GIVEN, "coupling": coupling, "compute_dtype": compute_dtype}
    return perturb(FlowLevel(DEPTH, CHANNELS, 5, name="level", dtype=dtype, seed=1, jit=jit, **sizes))


def numbers(channels, seed, dtype=tf.float64, n=3):
    return tf.constant(np.random.default_rng(seed).standard_normal([n, 2, 3, channels]), dtype)


def lone_steps(level, x, context, direction="forward"):
    """The steps one after another as plain functions of the stacked weights: for TensorFlow to differentiate."""
    weights = level.step.weights()
    method = level.step.forward_with if direction == "forward" else level.step.inverse_with
    total = 0.0
    for k in range(DEPTH) if direction == "forward" else reversed(range(DEPTH)):
        x, log_det = method(tf.nest.map_structure(lambda weight, k=k: weight[k], weights), x, context)
        total += log_det
    return x, total


def gradients(level, run, x, context):
    """Of a random linear function of the result and the log-det, to the input, the context and every weight."""
    d_y, d_log_det = numbers(CHANNELS, 7, x.dtype), numbers(1, 8, x.dtype)[:, 0, 0, 0]
    with tf.GradientTape() as tape:
        tape.watch([x, context])
        result = run(x, context)
    sources = {"input": x, "context": context, **{v.name: v for v in level.trainable_variables}}
    return tape.gradient(list(result), sources, output_gradients=[d_y, d_log_det])


@functools.cache
def wanted(coupling, direction, dtype):
    level = make_level(coupling, dtype)
    run = functools.partial(lone_steps, level, direction=direction)
    return gradients(level, run, numbers(CHANNELS, 0, dtype), numbers(GIVEN, 1, dtype))


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_forward(coupling, memory, dtype):
    level = make_level(coupling, dtype)
    x, context = numbers(CHANNELS, 0, dtype), numbers(GIVEN, 1, dtype)
    ours = gradients(level, lambda x, c: level.forward(x, memory, context=c), x, context)
    assert_same(ours, wanted(coupling, "forward", dtype), f"gradient {dtype.name}")


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_inverse(coupling, dtype):
    level = make_level(coupling, dtype)
    y, context = numbers(CHANNELS, 0, dtype), numbers(GIVEN, 1, dtype)
    ours = gradients(level, lambda y, c: level.inverse(y, context=c), y, context)
    assert_same(ours, wanted(coupling, "inverse", dtype), f"gradient {dtype.name}")


@pytest.mark.parametrize("memory", MEMORY)
def test_gradient_in_a_function_of_unknown_sizes(memory):
    level = make_level()
    specs = [tf.TensorSpec([None, None, None, channels], tf.float64) for channels in (CHANNELS, GIVEN)]
    run = functools.partial(gradients, level, lambda x, c: level.forward(x, memory, context=c))
    traced = tf.function(run, input_signature=specs, autograph=False)
    ours = traced(numbers(CHANNELS, 0), numbers(GIVEN, 1))
    assert_same(ours, wanted("affine", "forward", tf.float64), "gradient float64")


def test_bfloat16_gradients_are_near():
    """As tests/flow/test_scan.py has it without a context."""
    rounding, exact = make_level(dtype=tf.float32, compute_dtype=tf.bfloat16), make_level()
    for variable, value in zip(exact.step.variables, rounding.step.variables, strict=True):
        variable.assign(tf.cast(value, tf.float64))
    x, context = numbers(CHANNELS, 0), numbers(GIVEN, 1)
    forward = functools.partial(exact.forward, memory="store")
    run = tf.function(lambda: gradients(exact, lambda x, c: forward(x, context=c), x, context), autograph=False)
    wanted, size = run(), rounded("bfloat16", BFLOAT16_GRADIENT, 1, "the networks' numbers").allowed
    amplified = amplifications(exact, run, size)
    make_level.cache_clear()  # its weights were moved
    for memory in MEMORY:
        inputs = (tf.cast(tensor, tf.float32) for tensor in (x, context))
        ours = gradients(rounding, lambda x, c, m=memory: rounding.forward(x, m, context=c), *inputs)
        for name, value in wanted.items():
            why = f"{memory}; A is what errors of the networks' weights do to this gradient in float64"
            tolerance = rounded("bfloat16", BFLOAT16_GRADIENT, amplified[name], why)
            assert_near(f"gradient of {name}", ours[name], value, tolerance, floor=0)


def test_compiled():
    level, plain = make_level(dtype=tf.float32, jit=True), make_level(dtype=tf.float32)
    x, context = numbers(CHANNELS, 0, tf.float32), numbers(GIVEN, 1, tf.float32)
    run = functools.partial(gradients, level, lambda x, c: level.forward(x, context=c))
    ours = tf.function(run, autograph=False)(x, context)
    for name, value in gradients(plain, lambda x, c: plain.forward(x, context=c), x, context).items():
        assert_near(f"gradient of {name}", ours[name], value, JIT["gradient"])


def test_initialize():
    """As lone steps are, one after the other."""
    level, context = make_level(), numbers(GIVEN, 1, n=16)
    x = wanted = numbers(CHANNELS, 0, n=16)
    stacked = level.step.weights()
    for k in range(DEPTH):
        weights = tf.nest.map_structure(lambda weight, k=k: weight[k], stacked)
        _, wanted, _ = level.step.initialize_with(weights, wanted, context)
    assert_near("result", level.initialize(x, context), wanted, LEVEL["initialised"])
    assert_near("forward", level.forward(x, context=context)[0], wanted, LEVEL["initialised"])
    make_level.cache_clear()


def test_graph_does_not_grow_with_depth():
    """With a segment of each kind: one keeps nothing, one everything."""
    shallow, deep = (
        operations_of_training_gradient([[Segment(1, ()), Segment(depth - 1, EVERYTHING)]], depth, context="grayscale")
        for depth in (4, 64)
    )
    assert shallow == deep


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (None, r"level takes a float64 context \[3, 2, 3, 2\]: give context="),
        (numbers(GIVEN, 1)[:2], r"takes a float64 context \[3, 2, 3, 2\], not shape \(2, 2, 3, 2\)"),
        (numbers(GIVEN + 1, 1), r"not shape \(3, 2, 3, 3\)"),
        (numbers(GIVEN, 1)[:, :1], r"not shape \(3, 1, 3, 2\)"),
        (numbers(GIVEN, 1, tf.float32), "float64 context.*, not float32"),
    ],
)
def test_wrong_contexts_are_refused(context, message):
    level, x = make_level(), numbers(CHANNELS, 0)
    for call in (level.forward, level.inverse):
        with pytest.raises(ValueError, match=message):
            call(x, context=context)
    with pytest.raises(ValueError, match=message):
        level.initialize(x, context)


def test_a_context_is_refused_where_there_is_none():
    level = FlowLevel(1, CHANNELS, 5, name="level", dtype=tf.float64)
    with pytest.raises(ValueError, match="level takes no context: it was made with context_channels=0"):
        level.forward(numbers(CHANNELS, 0), context=numbers(GIVEN, 1))
