"""Models that are given a context: an image, something made of the image itself, or its class."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf import ConfigError, Glow, GlowConfig
from glow_tf.flow.contexts import picture_of
from glow_tf.flow.memory import MEMORY
from tests.eagerly import eagerly
from tests.near import assert_near
from tests.random_weights import context_for, label_of, noise_for, random_glow, random_images
from tests.tolerances import MODEL

MODELS: dict[str, dict[str, Any]] = {
    "features": {"context_channels": 2},
    "features, 1 level": {"context_channels": 5, "n_levels": 1, "learntop": False, "flow_coupling": "additive"},
    "grayscale": {"context": "grayscale"},
    "downsampled": {"context": "downsampled:2", "precision": "bfloat16"},
    "left_half, 1 channel, 1 level": {"context": "left_half", "channels": 1, "n_levels": 1},
    "label": {"context": "label", "n_y": 3},
    "label and ycond, 1 level": {"context": "label", "n_y": 3, "ycond": True, "context_channels": 4, "n_levels": 1},
    "features, classifier, 1 level": {"context_channels": 2, "n_y": 3, "ycond": True, "weight_y": 0.5, "n_levels": 1},
}
TRACED = ("features", "grayscale")


@pytest.fixture(params=MODELS)
def name(request):
    """Every model in turn. As each is called a few times only, most run as plain Python, which spares the tracing."""
    with contextlib.nullcontext() if request.param in TRACED else eagerly():
        yield request.param


@functools.cache
def model(name: str, precision: str = "") -> Glow:
    return random_glow(**{**MODELS[name], **({"precision": precision} if precision else {})})


def inputs(glow: Glow, n: int = 3):
    """(x, y, noise, context), the last two of the model's dtype."""
    config, dtype = glow.config, glow.dtype.as_numpy_dtype
    x = random_images(config, n)
    context = context_for(glow, x)
    context = None if context is None else tf.constant(context)
    return x, label_of(config, n), noise_for(config, n, dtype), context


def others(y, context):
    """Another label and another context for every image."""
    return None if y is None else np.roll(y, 1), None if context is None else tf.roll(context, 1, 0)


def test_decode_inverts_encode(name):
    glow = model(name)
    x, y, noise, context = inputs(glow)
    eps = glow.encode(x, y, noise, context)
    np.testing.assert_array_equal(glow.decode(eps, y, context), x)
    assert np.any(np.asarray(glow.decode(eps, *others(y, context))) != x)
    continuous = glow.decode_continuous(eps, y, context)
    assert_near("images", continuous, glow.continuous(x, noise), MODEL["latents"])


def test_bijection(name):
    """Latents come back, and the two directions' log-determinants are each other's negatives."""
    glow = model(name, "float64")
    _, y, _, context = inputs(glow)
    eps = glow.sample_latents(3, seed=1)
    x, log_det = glow.from_latents(eps, y, context)
    encoding = glow.to_latents(x, y, context=context)
    for latent, wanted in zip(encoding.eps, eps, strict=True):
        assert_near("latents", latent, wanted, MODEL["latents"])
    assert_near("log-determinant", encoding.log_det, -log_det, MODEL["latents"])


def test_log_prob_depends_on_the_context(name):
    glow = model(name)
    x, y, noise, context = inputs(glow)
    log_prob = glow.log_prob(x, y, noise, context)
    assert np.all(np.asarray(log_prob) != glow.log_prob(x, *_with_noise(noise, *others(y, context))))
    np.testing.assert_array_equal(glow.log_prob(x, y, noise, context), log_prob)
    loss = glow.losses(x, y, noise, context=context)["bits_x"]
    assert_near("bits", glow.bits_per_dim(x, y, noise, context), loss, MODEL["latents"])
    if glow.config.context_from_image:
        assert_near("log_prob", glow.log_prob(x, y, noise), log_prob, MODEL["latents"])


def _with_noise(noise, y, context):
    return y, noise, context


@pytest.mark.parametrize("memory", MEMORY)
def test_gradient_to_the_context_is_the_numeric_one(memory):
    glow = model("features", "float64")
    x, y, noise, context = inputs(glow)

    def loss(context):
        return tf.reduce_sum(glow.losses(x, y, noise, memory, context)["loss"])

    with tf.GradientTape() as tape:
        tape.watch(context)
        value = loss(context)
    gradient = np.asarray(tape.gradient(value, context))
    assert np.all(np.abs(gradient).max((1, 2)) > 0)
    step, random = 1e-6, np.random.default_rng(0)
    for _ in range(5):
        direction = random.standard_normal(context.shape)
        numeric = (loss(context + step * direction) - loss(context - step * direction)) / (2 * step)
        assert_near("derivative", np.sum(gradient * direction), numeric, MODEL["numeric"])


def test_every_weight_has_a_gradient(name):
    glow = model(name)
    x, y, noise, context = inputs(glow)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(glow.losses(x, y, noise, context=context)["loss"])
    for variable, gradient in zip(glow.trainable_variables, tape.gradient(loss, glow.trainable_variables), strict=True):
        assert gradient is not None, variable.name
        assert np.any(tf.convert_to_tensor(gradient) != 0), variable.name


some_models = pytest.mark.parametrize("name", ["features, 1 level", "grayscale", "label and ycond, 1 level"])


@some_models
@eagerly()
def test_initialization_and_training(name):
    glow = Glow({**model(name).config.to_dict(), "width": 16})
    config = glow.config
    x, y, noise, context = inputs(glow, 32)
    x = (x // 8 + 8 * np.arange(config.image_width)[:, None]).astype(np.uint8)  # a ramp, for there to be what to learn
    if config.context == "label":
        with pytest.raises(ValueError, match="give y"):
            glow.initialize(x)
    glow.initialize(x, y, noise, context)
    assert glow.initialized
    trainer = glow_tf.Trainer(glow, {"n_train": 64, "epochs_warmup": 0})
    given = None if config.context_from_image else context
    losses = [trainer.step(x, y, 1e-4, noise, given)["loss"] for _ in range(5)]
    assert losses[-1] < losses[0] - 0.01


@some_models
@eagerly()
def test_it_begins_as_the_model_without_a_context(name):
    """Whatever the context is: what is new starts at zero, the rest from the same numbers."""
    fields = {"image_size": (8, 4), "n_levels": 2, "depth": 2, "width": 8, **MODELS[name]}
    precision = fields.pop("precision", "float32")
    glow = Glow(fields, precision=precision)
    plain = Glow({key: value for key, value in fields.items() if not key.startswith("context")}, precision=precision)
    x, y, noise, context = inputs(glow, 8)
    glow.initialize(x, y, noise, context)
    plain.initialize(x, y if plain.config.ycond else None, noise)
    log_prob = plain.log_prob(x, y, noise)
    np.testing.assert_allclose(glow.log_prob(x, y, noise, context), log_prob, rtol=1e-6)


def test_a_class_reaches_the_couplings_and_a_context_every_level():
    for name in ("label", "features"):
        glow = model(name)
        x, y, noise, context = inputs(glow)
        z = glow.continuous(x, noise)
        one, other = (glow.to_latents(z, y, context=c) for y, c in ((y, context), others(y, context)))
        for latents in zip(one.eps, other.eps, strict=True):
            assert np.any(latents[0] != latents[1])
        assert np.any(one.top != other.top)


def test_without_a_context_nothing_is_there():
    glow = random_glow()
    assert glow.encoder is None
    assert not [name for name in glow.named_variables() if "context" in name]
    assert not {"context", "context_channels"} & set(glow.config.to_dict())


@eagerly()
def test_saved_and_loaded(name, tmp_path):
    glow = model(name)
    x, y, noise, context = inputs(glow)
    glow_tf.save(glow, tmp_path)
    loaded = glow_tf.load(tmp_path, precision=glow.precision)
    assert loaded.config == glow.config
    np.testing.assert_array_equal(loaded.log_prob(x, y, noise, context), glow.log_prob(x, y, noise, context))


def test_weights_of_an_unconditional_model_are_refused(tmp_path):
    from glow_tf.training.setup import load_weights

    glow_tf.save(random_glow(), tmp_path)
    with pytest.raises(ValueError, match=r"does not fit the model: it lacks \['context/level_0") as refused:
        load_weights(model("grayscale"), str(tmp_path))
    assert "\n" not in str(refused.value)


# What contexts are made of


def test_contexts_of_images():
    x = np.zeros([1, 4, 4, 3], np.uint8)
    x[0, 0] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]

    def context(kind, channels=3):
        glow = Glow(GlowConfig(4, n_levels=1, depth=1, width=2, channels=channels, context=kind))
        made = np.asarray(glow.context_of(x[..., :channels]))
        assert made.shape == (1, 4, 4, glow.config.context_channels)
        return made[0], np.asarray(picture_of(glow.config, tf.constant(made)))[0]

    gray, picture = context("grayscale")
    np.testing.assert_array_equal((gray[0, :, 0] + 0.5) * 256 - 0.5, [76, 150, 29, 255])
    np.testing.assert_array_equal(picture[0, :, 1], [76, 150, 29, 255])
    small, picture = context("downsampled:2")
    np.testing.assert_array_equal(small[:2, :2], np.broadcast_to(small[0, 0], [2, 2, 3]))
    np.testing.assert_array_equal(picture[0, 0], [64, 64, 0])  # the mean of 255 and three zeros, rounded to even
    np.testing.assert_array_equal(picture[3, 3], [0, 0, 0])
    half, picture = context("left_half")
    np.testing.assert_array_equal(half[..., 3], np.tile([0.5, 0.5, -0.5, -0.5], [4, 1]))
    np.testing.assert_array_equal(half[:, 2:, :3], np.zeros([4, 2, 3]))
    np.testing.assert_array_equal(picture[:, :2], x[0, :, :2])
    np.testing.assert_array_equal(context("grayscale", 1)[1], x[0, ..., :1])


# What is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"context": "blurred"}, "context='blurred': allowed are none, label, grayscale, downsampled:N, left_half"),
        ({"context": "downsampled"}, "context='downsampled': allowed"),
        ({"context": "downsampled:1"}, "N of at least 2"),
        ({"context": "downsampled:-2"}, "context='downsampled:-2': allowed"),
        ({"context": "grayscale:2"}, "context='grayscale:2': allowed"),
        ({"context": None}, "context=None: allowed"),
        ({"context": "downsampled:3"}, "height and width, 8, must be divisible by it"),
        ({"context": "grayscale", "context_channels": 2}, "context_channels=2: .*'grayscale'.* has 1"),
        ({"context_channels": -1}, "context_channels=-1: must be at least 0"),
        ({"context_channels": 2.0}, "context_channels=2.0: must be a whole number"),
        ({"context": "label", "ycond": True, "weight_y": 1.0}, "weight_y=1.0: .*told the class"),
    ],
)
def test_configurations_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message) as refused:
        GlowConfig(8, **fields)
    assert "\n" not in str(refused.value)


def test_configuration_there_and_back():
    for fields in MODELS.values():
        config = model(next(name for name in MODELS if MODELS[name] is fields)).config
        assert GlowConfig.from_dict(config.to_dict()) == config


def calls(glow):
    """Every method that takes a context, as a function of it."""
    x, y, noise, _ = inputs(glow)
    eps = glow.sample_latents(3, seed=1)
    trainer = glow_tf.Trainer(glow, {"n_train": 8})
    return {
        "log_prob": lambda c: glow.log_prob(x, y, noise, c),
        "bits_per_dim": lambda c: glow.bits_per_dim(x, y, noise, c),
        "losses": lambda c: glow.losses(x, y, noise, context=c),
        "encode": lambda c: glow.encode(x, y, context=c),
        "decode": lambda c: glow.decode(eps, y, c),
        "decode_continuous": lambda c: glow.decode_continuous(eps, y, c),
        "sample": lambda c: glow.sample(3, y, context=c),
        "initialize": lambda c: glow.initialize(x, y, noise, c),
        "step": lambda c: trainer.step(x, y, noise=noise, context=c),
    }


GOOD = np.zeros([3, 8, 4, 2], np.float32)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (None, r"this model takes a floating-point context \[N, 8, 4, 2\]: give context="),
        (GOOD.astype(np.uint8), "floating-point context.*, not uint8"),
        (GOOD[..., :1], r"not shape \(3, 8, 4, 1\)"),
        (GOOD[:, :4], r"not shape \(3, 4, 4, 2\)"),
        (GOOD[0], r"not shape \(8, 4, 2\)"),
        (GOOD[:2], "2 contexts for a batch of 3"),
    ],
)
def test_wrong_contexts_are_refused(context, message):
    for name, call in calls(random_glow(**MODELS["features"])).items():
        with pytest.raises(ValueError, match=message) as refused:
            call(context)
        assert "\n" not in str(refused.value), name


@pytest.mark.parametrize(("fields", "why"), [({}, "made without one"), ({"context": "label"}, "is the label y")])
def test_a_context_is_refused_where_there_is_none(fields, why):
    for name, call in calls(random_glow(**fields)).items():
        with pytest.raises(ValueError, match=f"this model takes no context: .*{why}"):
            call(GOOD)
            pytest.fail(name)


def test_samples_need_the_context_that_images_would_have_given():
    glow = model("grayscale")
    with pytest.raises(ValueError, match=r"takes a floating-point context \[N, 8, 4, 1\]: give context="):
        glow.sample(2)
    with pytest.raises(ValueError, match="context='none': this model's context is not made of images"):
        model("features").context_of(random_images(glow.config, 1))
