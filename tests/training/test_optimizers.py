"""The optimizers against a float64 NumPy replica of OpenAI's formulas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.training.optimizers import Adam, Adam2, PolyakAverage, beta2_of, make_optimizer

BETA1, BETA2 = 0.9, 0.95


def replica(name, w, gradients, lrs, weight_decay=1.0, beta1=BETA1, squares=None):
    """OpenAI's arithmetic, float64."""
    w = w.astype(np.float64)
    m1, m2 = np.zeros_like(w), np.zeros_like(w)
    for t, (g, lr) in enumerate(zip(gradients, lrs, strict=True), start=1):
        g = g.astype(np.float64)
        alpha = lr * np.sqrt(1 - BETA2**t) / (1 - beta1**t)
        m1 = beta1 * m1 + (1 - beta1) * g
        if name == "adamax":
            m2 = np.maximum(BETA2 * m2, abs(g))
            step = m1 / (m2 + 1e-8)
        else:
            square = g**2 if squares is None else squares[t - 1]
            m2 = BETA2 * m2 + (1 - BETA2) * square
            step = m1 / (np.sqrt(m2) + 1e-8)
        w = weight_decay * w - alpha * step
    return w


def take_step(optimizer, variable, gradient, lr, square=None):
    """One step of an optimizer of one variable, which makes its slots at the first."""
    if set(optimizer.slots) == {"step"}:
        with tf.init_scope():
            optimizer.initialize({"w": variable})
    (name,) = {slot.rpartition("/")[0] for slot in optimizer.slots} - {""}
    squares = None if square is None else {name: square}
    optimizer.update({name: variable}, {name: gradient}, optimizer.begin(lr), squares)


def gradients_of(rng, n_steps, size, dtype):
    """Gradients of every magnitude: where epsilon stands in the formula shows at the small ones."""
    scale = 10.0 ** rng.integers(-10, 2, size)
    return [(rng.normal(size=size) * scale).astype(dtype) for _ in range(n_steps)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight_decay", [1.0, 0.99])
@pytest.mark.parametrize("name", ["adam", "adamax", "adam2"])
def test_matches_the_formula(name, weight_decay, dtype):
    rng = np.random.default_rng(1)
    start = rng.normal(size=200).astype(dtype)
    gradients = gradients_of(rng, 60, 200, dtype)
    lrs = [1e-2 * min(1.0, i / 10) for i in range(60)]
    variable = tf.Variable(start, name="w")
    optimizer = make_optimizer(name, beta1=BETA1, beta2=BETA2, weight_decay=weight_decay)
    optimizer.initialize({"layer/w": variable})

    @tf.function(autograph=False)
    def step(g, lr):
        take_step(optimizer, variable, g, lr)

    for g, lr in zip(gradients, lrs, strict=True):
        step(tf.constant(g), tf.constant(lr, tf.float64))
    wanted = replica(name, start, gradients, lrs, weight_decay)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(variable.numpy(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["adam", "adamax", "adam2"])
def test_beta1_of_zero_uses_the_gradient_itself(name):
    rng = np.random.default_rng(2)
    start, gradients = rng.normal(size=20), gradients_of(rng, 5, 20, "float64")
    variable = tf.Variable(start)
    optimizer = make_optimizer(name, beta1=0.0, beta2=BETA2)
    for g in gradients:
        take_step(optimizer, variable, tf.constant(g), 0.1)
    wanted = replica(name, start, gradients, [0.1] * 5, beta1=0.0)
    np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-12)


def test_bias_correction_stays_exact_after_a_million_steps():
    variable = tf.Variable([1.0], dtype=tf.float64)
    optimizer = Adam(0.9, beta2_of(50_000, 1))
    optimizer.initialize({"w": variable})
    optimizer.step.assign(1_000_000)
    take_step(optimizer, variable, tf.constant([1.0], tf.float64), 1.0)
    m2 = (1 - optimizer.beta2) * 1.0
    alpha = np.sqrt(1 - optimizer.beta2**1_000_001)
    np.testing.assert_allclose(variable.numpy(), [1 - alpha * 0.1 / (np.sqrt(m2) + 1e-8)], rtol=1e-12)


def test_adam2_with_several_workers_averages_squares():
    """Two workers: the first moment has the mean gradient, the second the mean squared gradient."""
    rng = np.random.default_rng(3)
    start = rng.normal(size=50)
    pairs = [rng.normal(size=(2, 50)) for _ in range(10)]
    variable = tf.Variable(start)
    optimizer = Adam2(BETA1, BETA2)
    for pair in pairs:
        take_step(optimizer, variable, tf.constant(pair.mean(0)), 0.01, tf.constant((pair**2).mean(0)))
    gradients, squares = [p.mean(0) for p in pairs], [(p**2).mean(0) for p in pairs]
    wanted = replica("adam2", start, gradients, [0.01] * 10, squares=squares)
    np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize("mean_squares", [False, True])
@pytest.mark.parametrize("name", ["adam", "adamax", "adam2"])
def test_a_step_that_does_not_count_changes_nothing_and_one_that_does_is_as_any(name, mean_squares):
    rng = np.random.default_rng(4)
    start = rng.normal(size=50).astype(np.float32)

    def run(marked):
        variables = {"w": tf.Variable(start)}
        optimizer = make_optimizer(name, beta1=BETA1, beta2=BETA2, weight_decay=0.9)
        optimizer.initialize(variables)
        average = PolyakAverage(0.9, variables)

        @tf.function(autograph=False)
        def step(g, enabled):
            enabled = enabled if marked else None
            average.update(variables, enabled)
            squares = {"w": g * g + 1} if mean_squares else None
            optimizer.update(variables, {"w": g}, optimizer.begin(0.1, enabled), squares, enabled)

        kept = [*variables.values(), *average.values.values(), *optimizer.slots.values()]
        for g in gradients:
            if marked:  # the first of all steps among them, before which the bias correction is 0 / 0
                before = [v.numpy() for v in kept]
                step(tf.fill([50], np.float32(np.nan)), tf.constant(value=False))
                for v, value in zip(kept, before, strict=True):
                    np.testing.assert_array_equal(v.numpy(), value)
            step(g, tf.constant(value=True))
        return [v.numpy() for v in kept]

    gradients = [tf.constant(rng.normal(size=50), tf.float32) for _ in range(4)]
    for marked, plain in zip(run(marked=True), run(marked=False), strict=True):
        np.testing.assert_array_equal(marked, plain)


def test_slots_carry_the_variables_names():
    optimizer = make_optimizer("adamax", beta1=BETA1, beta2=BETA2)
    optimizer.initialize({"levels/0/w": tf.Variable(tf.zeros([2, 3]))})
    assert set(optimizer.slots) == {"step", "levels/0/w/m1", "levels/0/w/m2"}
    assert optimizer.slots["levels/0/w/m2"].shape == [2, 3]
    assert not optimizer.trainable_variables


def test_average_reads_the_weights_it_is_given_and_has_no_bias_correction():
    rng = np.random.default_rng(4)
    start = rng.normal(size=30).astype("float32")
    variables = {"w": tf.Variable(start)}
    average = PolyakAverage(BETA2, variables)
    wanted = start.astype(np.float64)
    for _ in range(30):
        new = rng.normal(size=30)
        variables["w"].assign(new)
        average.update(variables)
        wanted = wanted - (1 - BETA2) * (wanted - new)
    np.testing.assert_allclose(average.values["w"].numpy(), wanted, rtol=1e-5, atol=1e-6)
    average.reset(variables)
    np.testing.assert_array_equal(average.values["w"], variables["w"])


def test_swap_is_exact_and_its_own_inverse():
    variables = {"a": tf.Variable([1.0, 2.0]), "b": tf.Variable([[3.0]])}
    average = PolyakAverage(0.5, variables)
    variables["a"].assign([0.1, 0.2])
    average.swap(variables)
    assert variables["a"].numpy().tolist() == [1.0, 2.0]
    # The two must not share memory after the swap: an in-place update of one leaves the other alone.
    variables["a"].assign_add([1.0, 1.0])
    np.testing.assert_array_equal(average.values["a"], np.array([0.1, 0.2], "float32"))
    average.swap(variables)
    np.testing.assert_array_equal(variables["a"], np.array([0.1, 0.2], "float32"))
    assert average.values["a"].numpy().tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"beta1": 1.0, "beta2": 0.9}, "beta1"),
        ({"beta1": 0.9, "beta2": -0.1}, "beta2"),
        ({"beta1": 0.9, "beta2": 0.9, "weight_decay": 0.0}, "weight_decay"),
        ({"beta1": 0.9, "beta2": 0.9, "epsilon": 0.0}, "epsilon"),
    ],
)
def test_wrong_arguments_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        make_optimizer("adam", **arguments)


def test_unknown_optimizer_and_decays_out_of_range_are_errors():
    with pytest.raises(ValueError, match="adam, adamax, adam2"):
        make_optimizer("sgd", beta1=BETA1, beta2=BETA2)
    with pytest.raises(ValueError, match="polyak_epochs"):
        beta2_of(10, 0.01)
    with pytest.raises(ValueError, match="decay"):
        PolyakAverage(1.0, {})
