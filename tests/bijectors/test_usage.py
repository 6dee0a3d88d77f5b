"""The model inside other people's models: joint distributions, MCMC, variational inference, tf.function."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import glow_tf
from glow_tf import layers
from glow_tf.bijectors import ActNorm, FlowLevel, FlowStep, GlowBijector, GlowDistribution, LayerBijector, Permutation
from glow_tf.flow.multiscale import Encoding
from tests.bijectors.models import model
from tests.eagerly import eagerly
from tests.near import assert_near
from tests.random_weights import random_glow
from tests.tolerances import BIJECTORS

tfb, tfd = tfp.bijectors, tfp.distributions
FLOAT32 = BIJECTORS["float32 log-prob"]


# Joint distributions


def test_joint_distribution_coroutine():
    @tfd.JointDistributionCoroutine
    def joint():
        label = yield tfd.JointDistributionCoroutine.Root(tfd.Categorical(logits=tf.zeros([3]), name="label"))
        x = yield GlowDistribution(model(ycond=True), label=label, name="image")
        yield tfd.Independent(tfd.Normal(x, 0.1), 3, name="seen")

    sample = joint.sample(5, seed=[1, 2])
    assert sample.image.shape == sample.seen.shape == [5, 4, 4, 1]
    parts = [
        np.full([5], -np.log(3)),
        GlowDistribution(model(ycond=True)).log_prob(tf.identity(sample.image), label=sample.label),
        tfd.Independent(tfd.Normal(sample.image, 0.1), 3).log_prob(sample.seen),
    ]
    assert_near("log_prob", joint.log_prob(sample), sum(np.asarray(p) for p in parts), BIJECTORS["float32 samples"])
    pinned = joint.experimental_pin(seen=sample.seen)
    assert pinned.unnormalized_log_prob(sample.label, sample.image).shape == [5]


@pytest.mark.filterwarnings("ignore:Saw Tensor seed")
def test_auto_batched_joint_distribution():
    @tfd.JointDistributionCoroutineAutoBatched
    def joint():
        x = yield GlowDistribution(model(), name="image")
        yield tfd.Independent(tfd.Normal(x, 0.1), 3, name="seen")

    sample = joint.sample(3, seed=[1, 2])
    wanted = GlowDistribution(model()).log_prob(tf.identity(sample.image))
    wanted += tfd.Independent(tfd.Normal(sample.image, 0.1), 3).log_prob(sample.seen)
    assert_near("log_prob", joint.log_prob(sample), wanted, BIJECTORS["float32 samples"])


def test_joint_distribution_traces_the_model_once():
    @tf.function(autograph=False)
    def log_prob(x, label):
        return GlowDistribution(model(ycond=True), label=label).log_prob(x)

    for n in range(3):
        log_prob(tf.zeros([2, 4, 4, 1]), tf.constant([n, 0]))
    assert log_prob.experimental_get_tracing_count() == 1
    first, second = GlowBijector(model()), GlowBijector(model())
    assert first.model.functions is second.model.functions


def test_independent():
    classes = GlowDistribution(model(ycond=True), label=[0, 1, 2])
    triple = tfd.Independent(classes, 1)
    assert triple.event_shape == [3, 4, 4, 1]
    x = triple.sample(2, seed=1)
    assert_near("log_prob", triple.log_prob(x), tf.reduce_sum(classes.log_prob(x), 1), FLOAT32)


def test_mixture():
    mixture = tfd.MixtureSameFamily(
        tfd.Categorical(probs=[0.2, 0.3, 0.5]), GlowDistribution(model(ycond=True), label=[0, 1, 2])
    )
    x = mixture.sample(4, seed=[1, 2])
    singly = [GlowDistribution(model(ycond=True), label=y).log_prob(x) for y in range(3)]
    wanted = tf.reduce_logsumexp(tf.stack(singly, 1) + np.log([0.2, 0.3, 0.5]).astype(np.float32), 1)
    assert_near("log_prob", mixture.log_prob(x), wanted, FLOAT32)


# MCMC


def test_mcmc_over_latents_finds_the_posterior():
    """Of an image seen through noise: its image is nearer to the truth than what was seen or the mode of the prior."""
    bijector = GlowBijector(model())
    base = tfd.Sample(tfd.Normal(0.0, 1.0), 16)
    truth = bijector.forward(base.sample(seed=[1, 3]))
    seen = truth + tf.random.stateless_normal(truth.shape, [2, 4])
    guess = bijector.forward(tf.zeros([16]))

    def log_posterior(eps):
        x = bijector.forward(eps)
        return base.log_prob(eps) + tf.reduce_sum(tfd.Normal(x, 1.0).log_prob(seen), [-3, -2, -1])

    kernel = tfp.mcmc.HamiltonianMonteCarlo(log_posterior, step_size=0.15, num_leapfrog_steps=4)

    @tf.function(autograph=False)
    def run():
        return tfp.mcmc.sample_chain(
            40,
            tf.zeros([4, 16]),
            kernel=kernel,
            num_burnin_steps=20,
            trace_fn=lambda _, results: results.is_accepted,
            seed=[3, 4],
        )

    chain, accepted = run()
    assert 0.3 < np.mean(accepted)
    mean = np.mean(bijector.forward(chain), (0, 1))
    error = np.mean((mean - truth) ** 2)
    assert error < 0.75 * np.mean((seen - truth) ** 2)
    assert error < 0.75 * np.mean((guess - truth) ** 2)
    np.testing.assert_array_equal(run()[0], chain)


def test_mcmc_compiled_by_xla():
    """The whole chain is one program: HMC over images, with the model's gradient in it."""
    distribution = GlowDistribution(model())
    kernel = tfp.mcmc.HamiltonianMonteCarlo(distribution.log_prob, step_size=0.002, num_leapfrog_steps=3)
    start = distribution.sample(2, seed=[1, 2])

    @tf.function(autograph=False, jit_compile=True)
    def run():
        return tfp.mcmc.sample_chain(
            8,
            start,
            kernel=kernel,
            trace_fn=lambda _, results: (results.is_accepted, results.accepted_results.target_log_prob),
            seed=[3, 4],
        )

    chain, (accepted, log_prob) = run()
    assert np.mean(accepted) > 0.5
    assert np.all(chain[-1] != start)
    assert_near("log_prob", log_prob, distribution.log_prob(chain), BIJECTORS["float32 samples"])


def test_mcmc_over_images():
    """Langevin steps, by TransformedTransitionKernel in the latents of the distribution's own event-space bijector."""
    distribution = GlowDistribution(model())
    to_latents = distribution.experimental_default_event_space_bijector()
    kernel = tfp.mcmc.TransformedTransitionKernel(
        tfp.mcmc.MetropolisAdjustedLangevinAlgorithm(distribution.log_prob, step_size=0.1), to_latents
    )
    start = distribution.sample(2, seed=[0, 0])
    chain = tfp.mcmc.sample_chain(5, start, kernel=kernel, seed=[1, 2], trace_fn=None)
    assert chain.shape == [5, 2, 4, 4, 1]
    assert np.isfinite(chain).all()
    assert np.any(np.asarray(chain[-1] != start), (1, 2, 3)).all()


# Variational inference, and training


def test_variational_inference_trains_the_flow():
    glow = glow_tf.Glow({"image_size": 2, "channels": 1, "n_levels": 1, "depth": 1, "width": 4}, seed=1)
    surrogate = GlowDistribution(glow)
    target = tfd.Independent(tfd.Normal(tf.reshape([1.0, -1.0, 0.5, 0.0], [2, 2, 1]), 0.3), 3)
    losses = tfp.vi.fit_surrogate_posterior(
        target.log_prob, surrogate, tf.keras.optimizers.Adam(0.05), num_steps=40, sample_size=8, seed=[1, 2]
    )
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:5])


def test_maximum_likelihood_trains_a_chain_of_layers():
    chain = tfb.Chain([ActNorm(2), FlowStep(2, width=4), FlowLevel(2, depth=1, width=4, name="level")])
    flow = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), [1, 1, 2]), chain)
    data = 3 + 0.5 * tf.random.stateless_normal([64, 1, 1, 2], [0, 1])
    optimizer = tf.keras.optimizers.Adam(0.05)
    optimizer.build(flow.trainable_variables)  # or the step is traced once more, after that has made its variables

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(data))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, flow.trainable_variables), flow.trainable_variables, strict=True)
        )
        return loss

    losses = [float(step()) for _ in range(40)]
    assert losses[-1] < 0.2 * losses[0]


# tf.function, with autograph as users' own, and composite tensors


def test_distributions_go_in_and_out_of_functions():
    glow = model(ycond=True)
    log_prob = tf.function(lambda distribution, x: distribution.log_prob(x))
    x = tf.zeros([2, 4, 4, 1])
    for label in ([0, 1], [2, 2]):
        distribution = GlowDistribution(glow, label=label)
        assert_near("log_prob", log_prob(distribution, x), distribution.log_prob(x), FLOAT32)
    assert log_prob.experimental_get_tracing_count() == 1
    made = tf.function(lambda label: GlowDistribution(glow, temperature=0.5, label=label))(tf.constant([1, 2]))
    assert made.model is glow
    np.testing.assert_array_equal(made.label, [1, 2])
    assert_near("log_prob", made.log_prob(x), GlowDistribution(glow, 0.5, [1, 2]).log_prob(x), FLOAT32)
    label, temperature = tf.nest.flatten(made, expand_composites=True)
    assert float(temperature) == 0.5
    np.testing.assert_array_equal(label, [1, 2])


@eagerly()
def test_variables_are_tracked_and_saved(tmp_path):
    distribution = GlowDistribution(model())
    assert [id(v) for v in distribution.trainable_variables] == [id(v) for v in model().trainable_variables]
    path = tf.train.Checkpoint(distribution=distribution).write(str(tmp_path / "distribution"))
    other = random_glow(image_size=4, channels=1, n_levels=1, depth=1, width=5, seed=1)
    tf.train.Checkpoint(distribution=GlowDistribution(other)).read(path).assert_existing_objects_matched()
    x = tf.zeros([4, 4, 1])
    np.testing.assert_array_equal(GlowDistribution(other).log_prob(x), distribution.log_prob(x))


def test_weights_that_are_not_known_while_tracing_are_read_each_time():
    glow = random_glow(image_size=4, channels=1, n_levels=1, depth=1, width=5)
    log_prob = tf.function(GlowDistribution(glow).log_prob)
    x = tf.zeros([4, 4, 1])
    before = float(log_prob(x))
    glow.levels[0].step.actnorm.b.assign_add(tf.ones_like(glow.levels[0].step.actnorm.b))
    assert float(log_prob(x)) != before
    with eagerly():
        wanted = GlowDistribution(glow).log_prob(x)
    assert_near("log_prob", log_prob(x), wanted, FLOAT32)


def test_memory_may_be_set_to_another(monkeypatch):
    glow = random_glow(image_size=4, channels=1, n_levels=1, depth=1, width=2)
    traced: list[str] = []

    def to_latents(x, label, memory, compute_dtype, context=None):
        traced.append(memory)
        return Encoding([tf.reshape(x, [-1, 2, 2, 4])], tf.reduce_sum(x, [1, 2, 3]), x, tf.ones([]))

    monkeypatch.setattr(glow, "to_latents", to_latents)
    bijector = GlowBijector(glow)
    for memory in ("reversible", "store", "reversible"):
        glow.memory = memory
        bijector.inverse(tf.zeros([1, 4, 4, 1]))
    assert traced == ["reversible", "store"]  # once each


# Layers as bijectors


def test_two_bijectors_share_a_layer():
    layer = layers.ActNorm(3)
    first, second = ActNorm(layer), ActNorm(layer)
    assert first == second
    layer.initialize(5 + tf.random.stateless_normal([8, 2, 2, 3], [0, 1]))
    x = tf.ones([2, 2, 3])
    np.testing.assert_array_equal(first.inverse(x), layer.forward(x[tf.newaxis])[0][0])
    np.testing.assert_array_equal(second.inverse(tf.identity(x)), first.inverse(x))


def test_wrong_constructors_are_refused():
    with pytest.raises(ValueError, match="ActNorm takes a number of channels or a layer ActNorm, not <"):
        ActNorm(layers.Squeeze(3))
    with pytest.raises(ValueError, match="seed belong to a new layer, but act_norm exists"):
        ActNorm(layers.ActNorm(3), seed=1)
    with pytest.raises(ValueError, match="allowed are reverse, shuffle"):
        Permutation(3, kind="rotate")
    with pytest.raises(ValueError, match="memory='none' is unknown"):
        FlowLevel(4, memory="none", depth=1, width=2)
    with pytest.raises(TypeError, match="use one of those"):
        LayerBijector(3)


def test_without_tfp_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_probability", None)
    monkeypatch.delitem(sys.modules, "glow_tf.bijectors")
    with pytest.raises(ImportError, match=r"pip install 'glow_tf\[tfp\]'"):
        importlib.import_module("glow_tf.bijectors")


# Conditional models


def conditional():
    """A model of [4, 4, 1] that is given a context [4, 4, 2], and two contexts."""
    glow = random_glow(
        image_size=4, channels=1, n_levels=1, depth=1, width=5, n_bits_x=4, context_channels=2, precision="float64"
    )
    return glow, tf.constant(np.random.default_rng(0).standard_normal([2, 4, 4, 2]))


def test_a_context_is_a_batch_of_distributions():
    glow, context = conditional()
    images = GlowDistribution(glow, context=context)
    assert images.batch_shape == images.batch_shape_tensor() == [2]
    assert GlowBijector(glow, context=context).experimental_batch_shape(x_event_ndims=1) == [2]
    x = images.sample(3, seed=[1, 2])
    assert x.shape == [3, 2, 4, 4, 1]
    log_prob = images.log_prob(tf.identity(x))
    for k in range(2):
        one = GlowDistribution(glow, context=context[k])
        assert one.batch_shape == []
        assert_near("log_prob", log_prob[:, k], one.log_prob(tf.identity(x[:, k])), BIJECTORS["tf.function"])
        wanted = GlowDistribution(glow).log_prob(tf.identity(x[:, k]), context=np.asarray(context[k]))
        assert_near("log_prob", log_prob[:, k], wanted, BIJECTORS["tf.function"])
    assert np.abs(log_prob[:, 0] - log_prob[:, 1]).max() > 0
    uint8 = images.sample_uint8(3, seed=[1, 2])
    np.testing.assert_array_equal(
        images.log_prob_uint8(uint8, seed=[3, 4])[:, 0],
        images.log_prob_uint8(uint8, seed=[3, 4], context=context)[:, 0],
    )


def test_a_context_in_a_joint_distribution_a_function_and_a_tape():
    """Features are drawn, the image given them; the gradient reaches what the features are made of."""
    glow, _ = conditional()
    scale = tf.Variable(tf.ones([], tf.float64))

    @tfd.JointDistributionCoroutine
    def joint():
        prior = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), scale), [4, 4, 2], name="features")
        features = yield tfd.JointDistributionCoroutine.Root(prior)
        yield GlowDistribution(glow, context=features, name="image")

    features, image = joint.sample(5, seed=[1, 2])
    assert image.shape == [5, 4, 4, 1]
    parts = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), scale), [4, 4, 2]).log_prob(features)
    parts += GlowDistribution(glow).log_prob(tf.identity(image), context=features)
    assert_near("log_prob", joint.log_prob(features, image), parts, BIJECTORS["tf.function"])

    @tf.function(autograph=False)
    def value(context, x):
        return tf.reduce_sum(GlowDistribution(glow, context=scale * context).log_prob(x))

    with tf.GradientTape() as tape:
        total = value(features, image)
    gradient = tape.gradient(total, scale)
    step = 1e-6
    ends = []
    for sign in (1, -1):
        scale.assign_add(sign * step)
        ends.append(value(features, image))
        scale.assign_sub(sign * step)
    assert_near("derivative", gradient, (ends[0] - ends[1]) / (2 * step), BIJECTORS["numeric log-det"])


def test_a_conditional_step_with_any_leading_dimensions():
    step = FlowStep(4, width=5, context_channels=2, dtype=tf.float64)
    random = np.random.default_rng(0)
    x, context = random.standard_normal([3, 1, 2, 3, 4]), random.standard_normal([2, 2, 3, 2])
    y = step.forward(tf.constant(x), context=context)
    assert y.shape == [3, 2, 2, 3, 4]
    one = step.forward(tf.constant(x[2]), context=context[1:])
    assert_near("y", y[2, 1:], one, BIJECTORS["tf.function"])
    assert step.inverse_log_det_jacobian(y, 3, context=context).shape == [3, 2]


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (None, r"this model is conditional: give context=, \[\.\.\., 4, 4, 2\]"),
        (np.zeros([4, 4, 3]), r"floating-point context \[\.\.\., 4, 4, 2\], not shape \(4, 4, 3\)"),
        (np.zeros([4, 2]), r"not shape \(4, 2\)"),
        (np.zeros([4, 4, 2], np.int32), "not int32"),
    ],
)
def test_wrong_contexts_are_refused(context, message):
    glow, _ = conditional()
    for call in (GlowBijector(glow).forward, GlowDistribution(glow).log_prob):
        value = np.zeros([16]) if "forward" in str(call) else np.zeros([4, 4, 1])
        with pytest.raises(ValueError, match=message):
            call(tf.constant(value), context=context)
    if context is not None:
        with pytest.raises(ValueError, match=message):
            GlowDistribution(glow, context=context)


def test_a_context_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match="context: this model takes none: it was made without one"):
        GlowDistribution(model(), context=np.zeros([4, 4, 2]))
    label = random_glow(image_size=4, context="label", n_y=3)
    with pytest.raises(ValueError, match=r"is conditioned on label="):
        GlowBijector(label, context=np.zeros([4, 4, 2]))
    assert GlowDistribution(label, label=[0, 2]).batch_shape == [2]
    with pytest.raises(ValueError, match="step takes a float32 context"):
        FlowStep(4, width=5, context_channels=2, name="step").forward(tf.zeros([1, 2, 2, 4]))
