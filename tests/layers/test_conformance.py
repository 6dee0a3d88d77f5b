"""Every public layer keeps the contract of layers/base.py."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import layers
from tests.layers.registry import ABSTRACT, EXAMPLES, batch, build, build_anew, class_names
from tests.near import assert_near
from tests.tolerances import CONDITION, LAYERS

CHECKED = [name for name, example in EXAMPLES.items() if example.checked]
STACKED = [name for name, example in EXAMPLES.items() if example.stacked]
every_layer = pytest.mark.parametrize("name", EXAMPLES)
directions = pytest.mark.parametrize("direction", ["forward", "inverse"])


def assert_both_near(kind, ours, wanted):
    """Both results of a direction."""
    for what, a, b in zip(("result", "log_det"), ours, wanted, strict=True):
        assert_near(what, a, b, LAYERS[kind])


def traced_kind(name):
    """How near two graphs come: they may fuse products and biases, and round to bfloat16 once instead of twice."""
    return "tf.function bfloat16" if "bfloat16" in name else "tf.function"


class Traced(tf.Module):
    """A layer in float64 with both directions traced once, for any batch, height and width.

    They are concrete functions, as tf.saved_model.save would trace others again.
    """

    def __init__(self, name):
        super().__init__()
        self.layer = build(name)
        x = batch(name)
        y, _ = self.layer.forward(x)
        self.forward = self._traced(self.layer.forward, x)
        self.inverse = self._traced(self.layer.inverse, y)

    @staticmethod
    def _traced(method, example):
        spec = tf.TensorSpec([None, None, None, example.shape[-1]], example.dtype)
        return tf.function(method, autograph=False).get_concrete_function(spec)


@functools.cache
def traced(name):
    return Traced(name)


def argument(name, direction, dtype=tf.float64):
    """An input of `direction` of the layer."""
    x = batch(name, dtype)
    return x if direction == "forward" else build(name, dtype).forward(x)[0]


def test_registry_is_complete():
    built = set().union(*(class_names(example.build(dtype=tf.float32, seed=0)) for example in EXAMPLES.values()))
    public = set(layers.__all__) - ABSTRACT
    assert public | {"FlowStep", "FlowLevel", "TopPrior"} <= built


@every_layer
def test_no_weight_is_zero(name):
    layer = build(name)
    for variable in layer.trainable_variables:
        assert np.all(np.asarray(variable) != 0), variable.name


@every_layer
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_each_direction_inverts_the_other(name, dtype):
    layer, x = build(name, dtype), batch(name, dtype)
    y, log_det = layer.forward(x)
    back, inverse_log_det = layer.inverse(y)
    assert y.dtype == log_det.dtype == back.dtype == inverse_log_det.dtype == dtype
    assert_both_near(f"inverse {dtype.name}", (back, inverse_log_det), (x, -log_det))
    z = tf.constant(np.random.default_rng(1).standard_normal(y.shape), dtype)
    x, log_det = layer.inverse(z)
    back, forward_log_det = layer.forward(x)
    assert_both_near(f"inverse {dtype.name}", (back, forward_log_det), (z, -log_det))


@every_layer
@directions
def test_log_det_is_that_of_the_jacobian(name, direction):
    layer, x = build(name), argument(name, direction)
    log_det = getattr(layer, direction)(x)[1]
    for n in range(x.shape[0]):
        size = int(np.prod(x.shape[1:]))
        copies = tf.repeat(x[n : n + 1], size, 0)  # one row of the Jacobian from each, in a single backward pass
        with tf.GradientTape() as tape:
            tape.watch(copies)
            y = getattr(layer, direction)(copies)[0]
        rows = tape.gradient(y, copies, output_gradients=tf.reshape(tf.eye(size, dtype=y.dtype), y.shape))
        jacobian = np.reshape(rows, [size, size])
        assert np.linalg.cond(jacobian) <= CONDITION  # as the tolerances say
        assert_near(f"log_det of image {n}", log_det[n], np.linalg.slogdet(jacobian)[1], LAYERS["log-det"])


@every_layer
@directions
def test_shapes(name, direction):
    layer, x = build(name), argument(name, direction)
    y, log_det = getattr(layer, direction)(x)
    assert log_det.shape == x.shape[:1]
    n, h, w, c = x.shape
    if name.startswith("Squeeze"):
        wanted = [n, h // 2, w // 2, 4 * c] if direction == "forward" else [n, 2 * h, 2 * w, c // 4]
    else:
        wanted = [n, h, w, c]
    assert y.shape == wanted


@every_layer
@directions
def test_unknown_sizes_in_a_function(name, direction):
    module, x = traced(name), argument(name, direction)
    eager, eager_log_det = getattr(module.layer, direction)(x)
    assert_both_near(traced_kind(name), getattr(module, direction)(x), (eager, eager_log_det))
    output, log_det = getattr(module, direction).structured_outputs
    assert output.shape.rank == 4
    assert output.shape[-1] == eager.shape[-1]
    assert log_det.shape.rank == 1


@every_layer
@directions
def test_each_example_is_alone(name, direction):
    module, x = traced(name), argument(name, direction)
    y, log_det = getattr(module, direction)(x)
    for n in range(x.shape[0]):
        one = getattr(module, direction)(x[n : n + 1])
        assert_both_near(traced_kind(name), one, (y[n : n + 1], log_det[n : n + 1]))


@every_layer
def test_empty_batch(name):
    y, log_det = traced(name).forward(batch(name)[:0])
    assert y.shape[0] == log_det.shape[0] == 0


@every_layer
def test_one_pixel(name):
    side = 2 if name.startswith("Squeeze") else 1
    x = batch(name)[:, :side, :side]
    y, log_det = build(name).forward(x)
    assert y.shape[1:3] == [1, 1]
    back, inverse_log_det = build(name).inverse(y)
    assert_both_near("inverse float64", (back, inverse_log_det), (x, -log_det))


@every_layer
@pytest.mark.parametrize("kind", ["10 sigma", "constant", "black"])
def test_extreme_inputs(name, kind):
    layer, x = build(name, tf.float32), batch(name, tf.float32)
    x = {"10 sigma": 10 * x, "constant": tf.ones_like(x), "black": tf.fill(x.shape, -0.5)}[kind]
    for there, back in ((layer.forward, layer.inverse), (layer.inverse, layer.forward)):
        start = x if there == layer.forward else tf.reshape(x, layer.forward(x)[0].shape)
        y, log_det = there(start)
        assert_both_near("extreme", back(y), (start, -log_det))


@every_layer
def test_initialize_returns_what_forward_gives(name):
    layer, x = build_anew(name), batch(name)
    kind = "bfloat16" if "bfloat16" in name else "tf.function"  # the initialisation itself is in full precision
    assert_both_near(kind, layer.initialize(x), layer.forward(x))


@every_layer
def test_checkpoint(name, tmp_path):
    layer, other, x = build(name), build_anew(name, seed=1), batch(name)
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "layer"))
    tf.train.Checkpoint(layer=other).read(path).assert_consumed()
    assert len(other.variables) == len(layer.variables)
    np.testing.assert_array_equal(other.forward(x)[0], layer.forward(x)[0])
    np.testing.assert_array_equal(other.forward(x)[1], layer.forward(x)[1])


WITH_GRADIENTS = ("AffineCoupling", "FlowLevel, reversible, shuffle")  # store's and checkpoint's cannot be saved


@pytest.fixture(scope="module")
def saved_layers(tmp_path_factory):
    """Every traced layer, saved and loaded again, by name; in two files only, as saving takes long."""
    loaded: dict[str, Any] = {}
    for gradients in (True, False):
        names = [name for name in EXAMPLES if (name in WITH_GRADIENTS) == gradients]
        module = tf.Module()
        module.layers = [traced(name) for name in names]
        folder = str(tmp_path_factory.mktemp("layers"))
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=gradients)
        tf.saved_model.save(module, folder, options=options)
        loaded.update(zip(names, tf.saved_model.load(folder).layers, strict=True))
    return loaded


@every_layer
def test_saved_model(name, saved_layers):
    loaded, x = saved_layers[name], batch(name)
    y, log_det = loaded.forward(x)
    assert_both_near(traced_kind(name), (y, log_det), traced(name).forward(x))
    assert_near("what comes back", loaded.inverse(y)[0], x, LAYERS["inverse float64"])


@every_layer
def test_initial_values_are_a_function_of_the_seed(name, monkeypatch):
    draws: list[str] = []
    for function in ("stateless_normal", "stateless_uniform"):
        monkeypatch.setattr(tf.random, function, counted(getattr(tf.random, function), draws))

    def values(seed):
        tf.random.set_seed(np.random.default_rng().integers(2**31))
        return [np.asarray(v) for v in EXAMPLES[name].build(dtype=tf.float64, seed=seed).variables]

    first, same, other = values(3), values(3), values(4)
    for a, b in zip(first, same, strict=True):
        np.testing.assert_array_equal(a, b)
    many = [k for k, a in enumerate(first) if np.unique(a).size > 2 or a.dtype.kind == "i"]
    assert all(np.any(first[k] != other[k]) for k in many)
    differ = any(np.any(a != b) for a, b in zip(first, other, strict=True))
    one = name == "InvertibleConv1x1, 1 channel"  # whose rotation is 1, whatever is drawn
    assert differ == (bool(draws) and not one)  # what is drawn is drawn with the layer's seed


def counted(function, calls):
    """The function, which adds its name to `calls` each time."""

    def call(*args, **kwargs):
        calls.append(function.__name__)
        return function(*args, **kwargs)

    return call


@every_layer
def test_variable_names_are_attribute_names(name):
    layer = EXAMPLES[name].build(dtype=tf.float32, seed=0)
    for variable in layer.variables:
        top, *path = variable.name.removesuffix(":0").split("/")
        assert top == layer.name
        part = getattr(getattr(layer, "level", None), "step", None) or getattr(layer, "layer", layer)
        for attribute in path:
            part = getattr(part, attribute)
        assert part is variable


@pytest.mark.parametrize("name", STACKED)
def test_stacked_weights_refuse_direct_use(name):
    layer = EXAMPLES[name].build(dtype=tf.float64, seed=0, stack=3)
    for method in (layer.forward, layer.inverse):
        with pytest.raises(ValueError, match=f"{layer.name} holds the weights of 3 steps.*FlowLevel"):
            method(batch(name))


@pytest.mark.parametrize("name", ["InvertibleConv1x1", "InvertibleConv1x1LU", "AffineCoupling", "FlowStep"])
def test_stacked_steps_start_from_different_weights(name):
    layer = EXAMPLES[name].build(dtype=tf.float64, seed=0, stack=3)
    random = [np.asarray(v) for v in layer.trainable_variables if np.unique(v).size > 6]
    assert random
    for value in random:
        assert value.shape[0] == 3
        assert np.any(value[0] != value[1])
        assert np.any(value[1] != value[2])


@pytest.mark.parametrize("name", CHECKED)
@directions
def test_wrong_input_is_refused_at_the_door(name, direction):
    layer, good = build(name, tf.float32), argument(name, direction, tf.float32)
    method, channels = getattr(layer, direction), good.shape[-1]
    wanted = rf"{layer.name} takes float32 images \[N, H, W, {channels}\]"
    with pytest.raises(ValueError, match=rf"{wanted}, not shape"):
        method(good[0])
    with pytest.raises(ValueError, match=rf"{wanted}, not shape"):
        method(good[tf.newaxis])
    with pytest.raises(ValueError, match=rf"{wanted}, not shape.*{channels + 2}"):
        method(tf.concat([good, good[..., :1], good[..., :1]], -1))
    with pytest.raises(ValueError, match=f"{wanted}, not float64"):
        method(tf.cast(good, tf.float64))
    with pytest.raises(ValueError, match=f"{wanted}, not uint8"):
        method(tf.zeros(good.shape, tf.uint8))
    np.testing.assert_array_equal(method(np.asarray(good))[0], method(good)[0])


@pytest.mark.parametrize("shape", [(1, 3, 2, 3), (1, 2, 5, 3)])
def test_squeeze_needs_even_sides(shape):
    with pytest.raises(ValueError, match="squeeze needs an even height and width"):
        layers.Squeeze(3).forward(tf.zeros(shape))


def test_squeeze_of_an_odd_image_back():
    y = tf.zeros([1, 3, 5, 12])
    assert layers.Squeeze(3).inverse(y)[0].shape == [1, 6, 10, 3]
