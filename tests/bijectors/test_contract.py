"""Every public bijector keeps TFP's contract: what TFP's own test oracles check, which its wheel does not carry."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import bijectors
from tests.bijectors.registry import EXAMPLES, NO_BIJECTORS, built, call, given, points
from tests.eagerly import eagerly
from tests.near import assert_near
from tests.tolerances import BIJECTORS

tfb, tfd = tfp.bijectors, tfp.distributions
every_bijector = pytest.mark.parametrize("name", EXAMPLES)
directions = pytest.mark.parametrize("direction", ["forward", "inverse"])
OTHER = {"forward": "inverse", "inverse": "forward"}


def assert_same(kind, ours, wanted):
    assert_near("result", ours, wanted, BIJECTORS[kind])


def afresh(x):
    """The same numbers as a tensor that no cache knows."""
    return tf.constant(np.asarray(x))


def value_and_log_det(name, direction, x, dtype=tf.float64):
    """Both, from one evaluation, because the value is held."""
    y = call(name, direction, x, dtype)
    return y, call(name, f"{direction}_log_det_jacobian", x, dtype)


@pytest.fixture
def evaluations(monkeypatch):
    """Counts how often the maps themselves are computed."""
    counts: list[str] = []
    for cls in (bijectors.LayerBijector, bijectors.FlowLevel, bijectors.GlowBijector):
        for method in ("forward_and_log_det", "inverse_and_log_det"):
            if method in vars(cls):
                monkeypatch.setattr(cls, method, counting(getattr(cls, method), counts))
    return counts


def counting(function, counts):
    def counted(self, value, **kwargs):
        counts.append(function.__name__)
        return function(self, value, **kwargs)

    return counted


def test_registry_is_complete():
    assert {type(built(name)).__name__ for name in EXAMPLES} == set(bijectors.__all__) - NO_BIJECTORS


@every_bijector
def test_no_weight_is_zero(name):
    for variable in built(name).trainable_variables:
        assert np.all(np.asarray(variable) != 0), variable.name


# Bijective and finite


@every_bijector
@pytest.mark.parametrize(
    ("direction", "dtype"), [("forward", tf.float32), ("inverse", tf.float32), ("forward", tf.float64)]
)
@eagerly()
def test_bijective_and_finite(name, direction, dtype):
    x = tf.constant([0.01, 1.0, 5.0], dtype)
    x = tf.reshape(x, [3] + [1] * len(points(name, direction, ()).shape)) * points(name, direction, (3,), dtype)
    y, log_det = value_and_log_det(name, direction, x, dtype)
    again = afresh(y)
    back, other_log_det = value_and_log_det(name, OTHER[direction], again, dtype)
    assert y.dtype == back.dtype == log_det.dtype == dtype
    assert back is not x
    assert_same(f"inverse {dtype.name}", back, x)
    assert_same(f"inverse {dtype.name}", other_log_det, -log_det)
    assert len(np.unique(np.asarray(y).reshape(3, -1), axis=0)) == 3  # other images, other latents


@every_bijector
@directions
def test_log_det_is_that_of_the_jacobian(name, direction):
    x = points(name, direction, ())
    size = int(np.prod(x.shape))
    copies = tf.repeat(x[tf.newaxis], size, 0)  # one row of the Jacobian from each, in a single backward pass
    with tf.GradientTape() as tape:
        tape.watch(copies)
        y, log_det = value_and_log_det(name, direction, copies)
    rows = tape.gradient(y, copies, output_gradients=tf.reshape(tf.eye(size, dtype=y.dtype), y.shape))
    wanted = np.linalg.slogdet(np.reshape(rows, [size, size]))[1]
    assert_same("log-det", log_det, np.full([size], wanted))


@every_bijector
@directions
def test_log_det_is_that_of_the_finite_differences(name, direction):
    x = np.asarray(points(name, direction, ()))
    step = 1e-6
    shifts = step * np.eye(x.size).reshape(x.size, *x.shape)
    around = np.concatenate([x[np.newaxis], x + shifts, x - shifts])
    y, log_det = value_and_log_det(name, direction, tf.constant(around))
    up, down = np.split(np.asarray(y)[1:], 2)
    jacobian = np.reshape(up - down, [x.size, x.size]) / (2 * step)
    assert_same("numeric log-det", log_det[0], np.linalg.slogdet(jacobian)[1])


# Shapes


@every_bijector
@directions
@pytest.mark.parametrize("batch", [(), (2, 1, 3), (2, 0)])
def test_shapes_are_congruent(name, direction, batch):
    example, bijector = EXAMPLES[name], built(name)
    inner, outer = example.shape, example.image_shape
    if direction == "inverse":
        inner, outer = outer, inner
    x = points(name, direction, batch)
    y, log_det = value_and_log_det(name, direction, x)
    assert y.shape == (*batch, *outer)
    assert log_det.shape == batch
    shape, shape_tensor = (getattr(bijector, f"{direction}_event_shape{suffix}") for suffix in ("", "_tensor"))
    assert shape(inner) == outer
    np.testing.assert_array_equal(shape_tensor(inner), outer)
    assert shape(x.shape) == y.shape
    np.testing.assert_array_equal(shape_tensor(x.shape), y.shape)
    assert getattr(bijector, f"{direction}_min_event_ndims") == len(inner)
    assert getattr(bijector, f"{direction}_event_ndims")(len(inner)) == len(outer)
    assert bijector.experimental_batch_shape() == ()


@every_bijector
@directions
def test_batches_are_of_independent_events(name, direction):
    x = points(name, direction, (2, 2))
    y, log_det = value_and_log_det(name, direction, x)
    for i in ((0, 1), (1, 0)):
        event_y, event_log_det = value_and_log_det(name, direction, x[i])
        assert_same("tf.function", event_y, y[i])
        assert_same("tf.function", event_log_det, log_det[i])
    ndims = getattr(built(name), f"{direction}_min_event_ndims")
    kwargs = {**given(name), "event_ndims": ndims + 1}  # events of higher rank sum their log-determinants
    rows = getattr(built(name), f"{direction}_log_det_jacobian")(x, **kwargs)
    assert_same("tf.function", rows, tf.reduce_sum(log_det, 1))


@every_bijector
@directions
def test_unknown_sizes_and_one_evaluation_in_a_function(name, direction, evaluations):
    bijector, x = built(name), points(name, direction, (2, 3))
    ndims = getattr(bijector, f"{direction}_min_event_ndims")
    sizes = [None] * (ndims - 1) + [x.shape[-1]]

    @tf.function(input_signature=[tf.TensorSpec([None, None, *sizes], x.dtype)], autograph=False)
    def both(x):
        log_det = call(name, f"{direction}_log_det_jacobian", x)  # first, which eagerly would cost a second evaluation
        return call(name, direction, x), log_det

    y, log_det = both(x)
    assert len(evaluations) == 1
    eager_y, eager_log_det = value_and_log_det(name, direction, afresh(x))
    assert_same("tf.function", y, eager_y)
    assert_same("tf.function", log_det, eager_log_det)


@every_bijector
@directions
def test_a_wrong_shape_is_refused(name, direction):
    x = points(name, direction)
    with pytest.raises(ValueError, match=r"shape|channels"):
        call(name, direction, tf.concat([x, x], -1))
    with pytest.raises(ValueError, match=r"dimensions|shape"):
        call(name, direction, x[0, ..., 0])
    with pytest.raises((ValueError, TypeError)):
        call(name, direction, tf.cast(x, tf.float32))


# Caching


@every_bijector
@directions
def test_one_evaluation_gives_value_and_log_det_and_the_way_back(name, direction, evaluations):
    x = points(name, direction, (2,))
    y = call(name, direction, x)
    log_det = call(name, f"{direction}_log_det_jacobian", x)
    assert call(name, OTHER[direction], y) is x
    assert_same("tf.function", call(name, f"{OTHER[direction]}_log_det_jacobian", y), -log_det)
    assert call(name, direction, x) is y
    assert len(evaluations) == 1


@every_bijector
@directions
def test_what_nobody_holds_is_forgotten(name, direction, evaluations):
    bijector, kwargs = built(name).copy(name="other"), given(name)  # the weights are shared, the cache is not
    there, log_det = getattr(bijector, direction), getattr(bijector, f"{direction}_log_det_jacobian")

    def entries():
        return [key for key in bijector._cache.storage if key.subkey[0] is bijector]

    x = points(name, direction)
    y = there(x, **kwargs)
    log_det(x, **kwargs)
    assert len(entries()) == 2
    del y
    log_det(x, **kwargs)
    assert len(evaluations) == 2
    del x
    assert entries() == []


@every_bijector
@directions
def test_eager_training_on_one_tensor_sees_the_weights_and_the_tape(name, direction):
    x, variables = points(name, direction), built(name).trainable_variables

    def log_det_and_gradients():
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_det = call(name, f"{direction}_log_det_jacobian", x)
        return log_det, tape.gradient(log_det, [x, *variables], unconnected_gradients="zero")

    first, gradients = log_det_and_gradients()
    again, same_gradients = log_det_and_gradients()
    np.testing.assert_array_equal(again, first)
    rounding = 1e-15 if tf.config.list_physical_devices("GPU") else 0  # a GPU adds in an order that changes
    for gradient, same in zip(gradients, same_gradients, strict=True):
        np.testing.assert_allclose(same, gradient, rtol=rounding, atol=rounding)
    if not any(np.any(np.asarray(gradient) != 0) for gradient in gradients[1:]):
        return  # a constant log-determinant
    kept = [np.asarray(variable) for variable in variables]
    for variable, gradient in zip(variables, gradients[1:], strict=True):
        variable.assign_add(1e-3 * gradient)
    assert np.sum(log_det_and_gradients()[0]) > np.sum(first)
    for variable, value in zip(variables, kept, strict=True):
        variable.assign(value)


@every_bijector
@directions
def test_gradients_come_through_the_cache(name, direction):
    x, variables = points(name, direction), built(name).trainable_variables

    def gradients(loss):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss()
        return tape.gradient(value, [x, *variables], unconnected_gradients="zero")

    def of_value():
        return tf.reduce_sum(tf.sin(call(name, direction, x)))

    def of_log_det():
        return tf.reduce_sum(call(name, f"{direction}_log_det_jacobian", x))

    def of_both():
        y = call(name, direction, x)
        return tf.reduce_sum(tf.sin(y)) + of_log_det()

    together, first, second = gradients(of_both), gradients(of_value), gradients(of_log_det)
    for ours, a, b in zip(together, first, second, strict=True):
        assert_same("gradient", ours, a + b)
    moved = [np.any(np.asarray(gradient) != 0) for gradient in together]
    assert all(moved), [i for i, m in enumerate(moved) if not m]


# As TFP objects


@every_bijector
def test_variables_are_tracked(name):
    bijector = built(name)
    owner = bijector.model if isinstance(bijector, bijectors.GlowBijector) else bijector.layer
    assert [id(v) for v in bijector.variables] == [id(v) for v in owner.variables]
    assert [id(v) for v in bijector.trainable_variables] == [id(v) for v in owner.trainable_variables]


@every_bijector
def test_parameter_properties_and_copies(name):
    bijector = built(name)
    properties = type(bijector).parameter_properties()
    assert set(properties) == ({"label", "context"} if isinstance(bijector, bijectors.GlowBijector) else set())
    same = bijector.copy()
    assert same == bijector
    assert [id(v) for v in same.variables] == [id(v) for v in bijector.variables]
    assert bijector.copy(name="other").name == "other"
    assert EXAMPLES[name].build(dtype=tf.float64, seed=0) != bijector


@every_bijector
def test_inverted_and_chained(name):
    bijector, kwargs = built(name), given(name)
    x = points(name)
    y = call(name, "forward", x)
    inverted = tfb.Invert(bijector)
    assert_same("tf.function", inverted.inverse(x, **kwargs), y)
    chain = tfb.Chain([tfb.Scale(tf.constant(2.0, tf.float64)), bijector])
    named = {bijector.name: kwargs} if kwargs else {}
    assert_same("tf.function", chain.forward(x, **named), 2 * y)
    size = int(np.prod(EXAMPLES[name].shape))
    wanted = call(name, "forward_log_det_jacobian", x) + size * np.log(2)
    ndims = len(EXAMPLES[name].shape)
    assert_same("tf.function", chain.forward_log_det_jacobian(x, ndims, **named), wanted)


@every_bijector
def test_transformed_distribution(name, evaluations):
    shape, kwargs = EXAMPLES[name].shape, given(name)
    base = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), shape)
    model = tfd.TransformedDistribution(base, built(name))
    assert model.event_shape == EXAMPLES[name].image_shape
    y = afresh(model.sample(3, seed=[1, 2], bijector_kwargs=kwargs))
    assert len(evaluations) == 1
    log_prob = model.log_prob(y, bijector_kwargs=kwargs)
    assert len(evaluations) == 2
    x, log_det = value_and_log_det(name, "inverse", y)
    wanted = base.log_prob(x) + log_det
    assert_same("tf.function", log_prob, wanted)
