"""XLA: the levels' loops compiled by us, everything compiled by a caller, and what cannot be."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.flow.jit import resolve_jit
from glow_tf.flow.level import FlowLevel
from glow_tf.flow.memory import MEMORY
from tests.eagerly import eagerly
from tests.flow.test_level import KINDS
from tests.flow.test_scan import gradients
from tests.random_weights import label_of, noise_for, perturb, random_glow, random_images
from tests.tolerances import JIT

SMALL: dict[str, Any] = {"image_size": 4, "channels": 1, "width": 3, "depth": 2, "n_levels": 2}


def assert_near(ours, wanted, kind):
    for value, reference in zip(ours, wanted, strict=True):
        scale = max(1.0, np.abs(reference).max())
        assert np.abs(np.subtract(value, reference, dtype=np.float64)).max() <= JIT[kind][0] * scale


def assert_compiles(function, *args, kind="value"):
    """Under XLA the function returns what it returns to who calls it without; returns what XLA gave."""
    with eagerly():
        plain = function(*args)
    compiled = tf.function(function, autograph=False, jit_compile=True)(*args)
    assert_near(tf.nest.flatten(compiled), tf.nest.flatten(plain), kind)
    return compiled


@pytest.mark.parametrize("memory", MEMORY)
def test_compiled_loops_give_the_same_gradients(memory):
    assert_loops_compile("invconv, affine", "forward", memory)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_compiled_loops_give_the_same_gradients_in_both_directions(direction):
    assert_loops_compile("reverse, additive", direction, "reversible")


def assert_loops_compile(kind, direction, memory):
    level = perturb(FlowLevel(2, 4, 3, name="level", seed=1, **KINDS[kind]))
    run = functools.partial(getattr(level, direction), memory=memory)
    x = tf.constant(np.random.default_rng(0).standard_normal([2, 2, 3, 4]), tf.float32)
    wanted = gradients(level, run, x)
    level.jit = True
    traced = tf.function(lambda x: gradients(level, run, x), autograph=False)
    assert_near(tf.nest.flatten(traced(x)), tf.nest.flatten(wanted), "gradient")
    assert len(compiled_calls(traced.get_concrete_function(x).graph)) == 2  # the forward and the backward loop


def compiled_calls(graph):
    """The operations of a graph that XLA compiles."""
    library = {name: graph._get_function(name) for name in graph._functions}
    calls = [op for op in graph.get_operations() if "Call" in op.type]
    return [op for op in calls if library[op.get_attr("f").name].cached_definition.attr["_XlaMustCompile"].b]


def test_a_level_does_not_wait_for_those_below():
    """Its gradients come from its own backward loop, so their allreduces start while lower levels' loops run."""
    glow = random_glow(jit=True, **SMALL)
    x, noise = random_images(glow.config, 2), noise_for(glow.config, 2)

    @tf.function(autograph=False)
    def step(x, noise):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(glow.losses(x, None, noise)["loss"])
        return tape.gradient(loss, {v.name: v for v in glow.trainable_variables})

    graph = step.get_concrete_function(tf.constant(x), tf.constant(noise)).graph
    forward = 2
    assert len(compiled_calls(graph)) == 2 * forward  # two levels
    needed: dict[str, int] = {}
    for name, gradient in zip(graph.structured_outputs, graph.outputs, strict=True):
        level = name.split("/")[0]
        calls = len(compiled_calls_before(graph, gradient))
        needed[level] = max(needed.get(level, 0), calls)
    assert needed["level_1"] == forward + 1
    assert needed["level_0"] == forward + 2


def compiled_calls_before(graph, tensor):
    """The compiled operations that a tensor depends on."""
    seen, waiting = set(), [tensor.op]
    while waiting:
        op = waiting.pop()
        if op not in seen:
            seen.add(op)
            waiting += [t.op for t in op.inputs] + list(op.control_inputs)
    return [op for op in compiled_calls(graph) if op in seen]


CALLED: list[dict[str, Any]] = [{"ycond": True, "n_y": 3, "weight_y": 0.1}, {"lu_decomposed": True, "n_levels": 1}]


@pytest.fixture(scope="module", params=CALLED)
def callers(request):
    """A model with its images, labels and noise."""
    glow = random_glow(**SMALL | request.param)
    return glow, *(f(glow.config, 2) for f in (random_images, label_of, noise_for))


def test_callers_compile_likelihoods(callers):
    glow, x, y, noise = callers
    assert_compiles(glow.bits_per_dim, x, y, noise)  # log_prob, times a constant
    own_noise = tf.function(glow.log_prob, autograph=False, jit_compile=True)(x, y)
    with eagerly():
        assert np.abs(own_noise - glow.log_prob(x, y, noise)).max() < 0.1 * glow.config.dimensions
    if glow.classifier is not None:
        assert_compiles(glow.classify, x)


def test_callers_compile_latents_and_images(callers):
    glow, x, y, _ = callers

    def there_and_back():
        eps = glow.encode(x, y)
        return eps, glow.decode(eps, y)

    eps, recovered = assert_compiles(there_and_back)
    np.testing.assert_array_equal(recovered, x)
    assert_compiles(lambda: glow.decode_continuous(eps, y))
    drawn = tf.function(lambda seed: glow.sample(2, y, 0.7, seed), autograph=False, jit_compile=True)
    np.testing.assert_array_equal(drawn(tf.constant(1)), drawn(tf.constant(1)))
    assert np.any(drawn(tf.constant(1)) != drawn(tf.constant(2)))


def test_callers_compile_training(callers):
    glow, x, y, noise = callers

    def losses_and_gradients():
        with tf.GradientTape() as tape:
            losses = glow.losses(x, y, noise)
            loss = tf.reduce_mean(losses["loss"])
        return losses, tape.gradient(loss, glow.trainable_variables)

    assert_compiles(losses_and_gradients, kind="gradient")


def test_a_singular_convolution_is_noticed_and_named_in_a_compiled_step():
    """There is no error then, as on a GPU: the numbers are NaN, and the step's own check speaks."""
    glow = random_glow(**SMALL | {"n_levels": 1})
    trainer = glow_tf.Trainer(glow)
    trainer._step.run = tf.function(trainer._step._run, autograph=False, jit_compile=True)
    x, noise = random_images(glow.config, 2), noise_for(glow.config, 2)
    assert trainer.step(x, noise=noise)["step_ok"] == 1
    weight = glow.levels[0].step.permutation.W
    weight.assign(tf.ones_like(weight))
    before = [v.numpy() for v in glow.trainable_variables]
    with pytest.raises(ValueError, match="condition number of a 1x1 convolution"):
        trainer.step(x, noise=noise)
    for variable, value in zip(glow.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_what_cannot_be_compiled_is_said(monkeypatch):
    with pytest.raises(ValueError, match="jit='fast': allowed are False and True"):
        glow_tf.Glow(SMALL, jit="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="jit=True with precision='float64'"):
        glow_tf.Glow(SMALL, jit=True, precision="float64")
    monkeypatch.setattr(tf.test, "is_built_with_xla", lambda: False)
    with pytest.raises(ValueError, match="this TensorFlow was built without XLA"):
        glow_tf.Glow(SMALL, jit=True)
    assert not glow_tf.Glow(SMALL).jit


def test_auto_is_on_where_there_is_a_gpu(monkeypatch):
    assert resolve_jit("on", "float32")
    assert not resolve_jit("off", "float32")
    for gpus in ([], ["GPU:0"]):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind, gpus=gpus: gpus)
        assert resolve_jit("auto", "float32") == bool(gpus)
        assert not resolve_jit("auto", "float64")
