"""The three ways to a level's gradient all give autodiff's; the graph does not grow with depth."""

from __future__ import annotations

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.flow.folded import ForwardStep, InverseStep
from glow_tf.flow.level import FlowLevel
from glow_tf.flow.memory import EVERYTHING, MEMORY, segments_for
from glow_tf.flow.scan import Segment, scan
from glow_tf.layers.products import Arithmetic
from tests.flow.test_level import KINDS, images
from tests.near import assert_near
from tests.random_weights import perturb, random_glow
from tests.tolerances import BFLOAT16_GRADIENT, LEVEL, rounded

exact_kinds = pytest.mark.parametrize("kind", [kind for kind in KINDS if "bfloat16" not in kind])


@functools.cache
def make_level(kind, dtype=tf.float64, *, depth=3, width=5):
    return perturb(FlowLevel(depth, 4, width, name="level", dtype=dtype, seed=1, **KINDS[kind]))


def lone_steps(level, x, direction):
    """The steps one after another as plain functions of the stacked weights: for TensorFlow to differentiate."""
    weights = level.step.weights()
    method = level.step.forward_with if direction == "forward" else level.step.inverse_with
    order = range(level.depth) if direction == "forward" else reversed(range(level.depth))
    total = 0.0
    for k in order:
        x, log_det = method(tf.nest.map_structure(lambda weight, k=k: weight[k], weights), x)
        total += log_det
    return x, total


def gradients(level, run, x):
    """Of a random linear function of the result and the log-det, to the input and every weight."""
    random = np.random.default_rng(7)
    d_y = tf.constant(random.standard_normal(x.shape), x.dtype)
    d_log_det = tf.constant(random.standard_normal(x.shape[:1]), x.dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        result = run(x)
    sources = {"input": x, **{v.name: v for v in level.trainable_variables}}
    return tape.gradient(list(result), sources, output_gradients=[d_y, d_log_det])


def assert_same(ours, wanted, kind):
    assert set(ours) == set(wanted)
    for name, value in wanted.items():
        assert value is not None, name
        assert ours[name] is not None, f"{name} has no gradient"
        assert_near(f"gradient of {name}", ours[name], value, LEVEL[kind], floor=0)


@functools.cache
def wanted_gradients(kind, direction, dtype):
    level, x = make_level(kind, dtype), images(dtype=dtype.as_numpy_dtype)
    return gradients(level, lambda x: lone_steps(level, x, direction), x)


@exact_kinds
@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_gradient_forward(kind, memory, dtype):
    level, x = make_level(kind, dtype), images(dtype=dtype.as_numpy_dtype)
    ours = gradients(level, lambda x: level.forward(x, memory), x)
    assert_same(ours, wanted_gradients(kind, "forward", dtype), f"gradient {dtype.name}")


@exact_kinds
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_gradient_inverse(kind, dtype):
    level, y = make_level(kind, dtype), images(dtype=dtype.as_numpy_dtype)
    ours = gradients(level, level.inverse, y)
    assert_same(ours, wanted_gradients(kind, "inverse", dtype), f"gradient {dtype.name}")


def there_and_back(forward, inverse, x, variables):
    """Gradients of a function that is not linear, through both directions."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, log_det = forward(x)
        back, back_log_det = inverse(tf.sin(y))
        value = tf.reduce_sum(tf.sin(back)) + tf.reduce_sum(log_det * tf.sin(back_log_det))
    return tape.gradient(value, {"input": x, **{v.name: v for v in variables}})


@functools.cache
def wanted_there_and_back():
    level = make_level("invconv, affine")
    forward, inverse = (functools.partial(lone_steps, level, direction=d) for d in ("forward", "inverse"))
    return there_and_back(forward, inverse, images(), level.trainable_variables)


@pytest.mark.parametrize("memory", MEMORY)
def test_gradient_in_a_function_of_unknown_sizes(memory):
    level = make_level("invconv, affine")
    forward = functools.partial(level.forward, memory=memory)
    traced = tf.function(
        lambda x: there_and_back(forward, level.inverse, x, level.trainable_variables),
        input_signature=[tf.TensorSpec([None, None, None, 4], tf.float64)],
        autograph=False,
    )
    assert_same(traced(images()), wanted_there_and_back(), "gradient float64")
    assert all(np.isfinite(gradient).all() for gradient in traced(images()[:1, :1]).values())


def amplifications(level, run, size, draws=8):
    """How much a relative error of one in the networks' numbers moves each gradient, relative to its largest magnitude.

    In every draw each weight of the networks is moved by its own share of `size`. On a path those are three errors, one
    in each matrix, of a standard deviation of size / sqrt(3): together `size`. The result is the most that eight such
    draws move, divided by `size`: a gradient jumps where a relu's input changes its sign, so errors of the size that is
    allowed are tried, and not small ones.
    """
    random = np.random.default_rng(11)
    variables = level.step.coupling.trainable_variables
    kept = [np.asarray(variable) for variable in variables]
    unmoved = run()
    moved = dict.fromkeys(unmoved, 0.0)
    for _ in range(draws):
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value * (1 + size * random.uniform(-1, 1, value.shape)))
        for name, value in run().items():
            by = np.abs(value - unmoved[name]).max() / np.abs(unmoved[name]).max()
            moved[name] = max(moved[name], by / size)
    return moved


def test_bfloat16_gradients_are_near():
    """They are as near to the exact ones as rounding lets them be, and float64 tells how near that is for each."""
    rounding = make_level("invconv, affine, bfloat16", tf.float32)
    exact = FlowLevel(3, 4, 5, name="level", dtype=tf.float64, **KINDS["invconv, affine"])
    for variable, value in zip(exact.step.variables, rounding.step.variables, strict=True):
        variable.assign(tf.cast(value, tf.float64))
    x = images()
    run = tf.function(lambda: gradients(exact, lambda x: exact.forward(x, "store"), x), autograph=False)
    wanted, size = run(), rounded("bfloat16", BFLOAT16_GRADIENT, 1, "the networks' numbers").allowed
    amplified = amplifications(exact, run, size)
    for memory in MEMORY:
        ours = gradients(rounding, lambda x, m=memory: rounding.forward(x, m), tf.cast(x, tf.float32))
        assert set(ours) == set(wanted)
        for name, value in wanted.items():
            why = f"{memory}; A is what errors of the networks' weights do to this gradient in float64"
            tolerance = rounded("bfloat16", BFLOAT16_GRADIENT, amplified[name], why)
            assert_near(f"gradient of {name}", ours[name], value, tolerance, floor=0)


def operations_of_training_gradient(memory, depth, **fields):
    """How many nodes of each operation the graph of the loss's gradient has, function bodies included."""
    glow = random_glow(memory=memory, depth=depth, n_levels=1, **fields)
    images_spec = tf.TensorSpec([None, *glow.config.image_shape], tf.uint8)
    noise_spec = tf.TensorSpec([None, *glow.config.image_shape], tf.float32)

    @tf.function(input_signature=[images_spec, noise_spec], autograph=False)
    def step(x, noise):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(glow.losses(x, None, noise)["loss"])
        return tape.gradient(loss, glow.trainable_variables)

    function = step.get_concrete_function()
    # What runs: TensorFlow also writes a zero gradient for every input of a custom gradient and never uses it, small
    # ones as a constant and large ones as a Fill.
    results = [tensor.op.name for tensor in function.outputs]
    graph = tf.compat.v1.graph_util.extract_sub_graph(function.graph.as_graph_def(), results)
    bodies = [node for function in graph.library.function for node in function.node_def]
    return collections.Counter(node.op for node in [*graph.node, *bodies])


@pytest.mark.parametrize("memory", MEMORY)
def test_graph_does_not_grow_with_depth(memory):
    shallow, deep = (operations_of_training_gradient(memory, depth) for depth in (4, 64))
    assert shallow == deep
    assert shallow.total() < 1100  # of one level; 931 to 992 with TensorFlow 2.18


@pytest.mark.parametrize("kind", [ForwardStep, InverseStep])
def test_steps_may_keep_different_things(kind):
    """A scan whose first step keeps nothing, its second the expensive layer and its third everything."""
    level, x = make_level("invconv, affine"), images()
    everything = segments_for("store", 1)[0].keep
    mixed = [Segment(1, ()), Segment(1, ("hidden_2",)), Segment(1, everything)]

    def run(x, segments):
        return scan(kind(level.coupling, Arithmetic(tf.float64)), level.folded().steps, x, segments)

    ours = gradients(level, lambda x: run(x, mixed), x)
    wanted = gradients(level, lambda x: run(x, segments_for("store", 3)), x)
    used = {name: value for name, value in wanted.items() if value is not None and np.any(value)}
    assert len(used) >= 10
    assert_same({name: ours[name] for name in used}, used, "gradient float64")


# What a level of 32 steps keeps: the other two modes, what budgets come to, and mixtures that no budget would choose.
KEPT = {
    **{memory: segments_for(memory, 32) for memory in ("checkpoint", "reversible")},
    "nothing, then the output": [Segment(20, ()), Segment(12, ("h",))],
    "output, then the wide layer too": [Segment(7, ("h",)), Segment(25, ("h", "hidden_2"))],
    "all but the input, then all": [Segment(31, EVERYTHING[1:]), Segment(1, EVERYTHING)],
    "inputs, nothing, the first layer": [Segment(5, ("start",)), Segment(20, ()), Segment(7, ("hidden_1",))],
    "five kinds": [
        *[Segment(3, ()), Segment(1, ("h",)), Segment(9, ("h", "windows"))],
        *[Segment(2, EVERYTHING), Segment(17, ())],
    ],
}


def full_depth(dtype):
    return make_level("invconv, affine", dtype, depth=32, width=8), images(dtype=dtype.as_numpy_dtype)


@functools.cache
def stored_at_full_depth(dtype):
    level, x = full_depth(dtype)
    return gradients(level, functools.partial(level.forward, memory="store"), x)


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32])
@pytest.mark.parametrize("kept", KEPT)
def test_what_is_kept_makes_no_difference_at_full_depth(kept, dtype):
    """Traced in float64, whose tolerance is the tighter one, where there are more than two segments."""
    level, x = full_depth(dtype)
    run = functools.partial(gradients, level, functools.partial(level.forward, memory=KEPT[kept]))
    if dtype == tf.float64 and len(KEPT[kept]) > 2:
        run = tf.function(run, autograph=False)
    assert_same(run(x), stored_at_full_depth(dtype), f"gradient {dtype.name}")


@pytest.mark.parametrize("kind", KINDS)
def test_mixtures_agree_with_store_for_every_kind(kind):
    dtype = tf.float32 if "bfloat16" in kind else tf.float64
    level, x = make_level(kind, dtype), images(dtype=dtype.as_numpy_dtype)
    for middle in (("h",), ("h", "hidden_2"), ("h", "hidden_1", "hidden_2"), ("start", "windows")):
        mixed = [Segment(1, ()), Segment(1, middle), Segment(1, EVERYTHING)]
        ours, wanted = (gradients(level, functools.partial(level.forward, memory=m), x) for m in (mixed, "store"))
        tolerance = rounded("bfloat16", 1, 1, "an input that is recovered may be rounded to the next bfloat16")
        for name, value in wanted.items():
            allowed = tolerance if "bfloat16" in kind else LEVEL["gradient float64"]
            assert_near(f"gradient of {name}", ours[name], value, allowed, floor=0)


@pytest.mark.parametrize("jit", [False, True])
def test_a_probe_says_how_well_the_start_is_recovered(jit):
    """The relative difference between what is recovered and the true start, whatever the gradient's size."""
    level, x = make_level("invconv, affine", tf.float32, depth=32, width=8), images(dtype=np.float32)

    def errors(x, segments, scale):
        probe = tf.zeros([])
        with tf.GradientTape() as tape:
            tape.watch(probe)
            options = {"probe": probe, "jit": jit}
            y, _ = scan(
                ForwardStep(level.coupling, Arithmetic(tf.float32)), level.folded().steps, x, segments, **options
            )
            loss = scale * tf.reduce_sum(y)
        return tape.gradient(loss, probe)

    if jit:
        errors = tf.function(errors, autograph=False)
    undone, _ = level.inverse(level.forward(x)[0])
    wanted = float(tf.reduce_max(tf.abs(undone - x)) / tf.reduce_max(tf.abs(x)))
    for scale in (1.0, 1e20):
        error = float(errors(x, segments_for("reversible", 32), tf.constant(scale)))
        assert wanted / 10 < error < 10 * wanted and error > 2.0**-24
    for keep in (("start",), EVERYTHING):
        assert float(errors(x, [Segment(16, keep), Segment(16, ())], tf.constant(1.0))) == 0
    mixed = [Segment(1, ()), Segment(31, EVERYTHING)]
    assert 0 < float(errors(x, mixed, tf.constant(1.0))) < 16 * 2.0**-24


def test_graph_of_segments_does_not_grow_with_depth():
    shallow, deep = (
        operations_of_training_gradient([[Segment(1, ()), Segment(depth - 1, EVERYTHING)]], depth) for depth in (4, 64)
    )
    assert shallow == deep
