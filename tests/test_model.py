"""The model's methods: what they return, that the bijection and the likelihood are exact, and what they refuse."""

from __future__ import annotations

import contextlib
import functools
import math
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf import Glow, GlowConfig, flatten_latents, unflatten_latents
from glow_tf.flow.memory import MEMORY
from tests.eagerly import eagerly
from tests.near import assert_near
from tests.random_weights import label_of, noise_for, perturb, random_glow, random_images
from tests.tolerances import MODEL

CLASSES: dict[str, Any] = {"n_y": 3, "ycond": True, "weight_y": 0.5}
MODELS: dict[str, dict[str, Any]] = {
    "plain, 1 level": {"learntop": False, "flow_coupling": "additive", "n_levels": 1},
    "affine": {},
    "tall, 1 channel, 3 levels": {"image_size": (16, 8), "n_levels": 3, "channels": 1},
    "wide, 4 channels, 1 level": {"image_size": (2, 6), "n_levels": 1, "channels": 4, "flow_permutation": "shuffle"},
    "classes": CLASSES,
    "classes, float64, 1 level": {**CLASSES, "precision": "float64", "flow_permutation": "reverse", "n_levels": 1},
    "LU, bfloat16, 1 level": {"n_levels": 1, "lu_decomposed": True, "precision": "bfloat16"},
}
TRACED = ("affine", "classes")


@pytest.fixture(params=MODELS)
def name(request):
    """Every model in turn. As each is called a few times only, most run as plain Python, which spares the tracing."""
    with contextlib.nullcontext() if request.param in TRACED else eagerly():
        yield request.param


@functools.cache
def model(name: str) -> Glow:
    return random_glow(**MODELS[name])


def inputs(glow: Glow, n: int = 3):
    config = glow.config
    return random_images(config, n), label_of(config, n), noise_for(config, n, glow.dtype.as_numpy_dtype)


# Images and latents


def test_shapes_and_types(name):
    glow = model(name)
    x, y, noise = inputs(glow)
    eps = glow.encode(x, y, noise)
    assert [latent.shape.as_list() for latent in eps] == [[3, *shape] for shape in glow.config.latent_shapes()]
    assert all(latent.dtype == glow.dtype for latent in eps)
    continuous = glow.decode_continuous(eps, y)
    assert (continuous.shape, continuous.dtype) == (x.shape, glow.dtype)
    image = glow.decode(eps, y)
    assert (image.shape, image.dtype) == (x.shape, tf.uint8)
    for value in (glow.log_prob(x, y, noise), glow.bits_per_dim(x, y, noise)):
        assert (value.shape, value.dtype) == ([3], glow.dtype)


def test_decode_inverts_encode(name):
    glow = model(name)
    x, y, noise = inputs(glow)
    np.testing.assert_array_equal(glow.decode(glow.encode(x, y), y), x)
    np.testing.assert_array_equal(glow.decode(glow.encode(x, y, noise), y), x)


def test_encode_inverts_decode(name):
    glow = model(name)
    y = label_of(glow.config, 3)
    eps = [tf.cast(latent, glow.dtype) for latent in glow.sample_latents(3, 0.7, seed=1)]
    x = glow.decode_continuous(eps, y)
    again, log_det, *_ = glow.to_latents(x, y)
    back, other_log_det = glow.from_latents(eps, y)
    tolerance = MODEL["bfloat16" if "bfloat16" in name else "latents"]
    for i, (ours, wanted) in enumerate(zip(again, eps, strict=True)):
        assert_near(f"eps[{i}]", ours, wanted, tolerance)
    assert_near("the image again", back, x, MODEL["latents"])
    assert_near("log_det per dimension", other_log_det, -log_det, tolerance, floor=glow.config.dimensions)


@pytest.mark.parametrize("bits", [1, 5])
def test_fewer_bits(bits):
    glow = random_glow(n_bits_x=bits, n_levels=1, depth=1, image_size=(2, 4))
    x = random_images(glow.config, 8)
    step = 2 ** (8 - bits)
    np.testing.assert_array_equal(glow.decode(glow.encode(x)), x // step * step)
    assert np.all(glow.bits_per_dim(x) > 0)


def test_flat_latents():
    glow = model("tall, 1 channel, 3 levels")
    x, y, noise = inputs(glow)
    eps = glow.encode(x, y, noise)
    flat = flatten_latents(eps)
    assert flat.shape == [3, glow.config.dimensions]
    np.testing.assert_array_equal(glow.decode(unflatten_latents(glow.config, flat), y), x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("coupling", "precision"),
    [
        ("additive", "float32"),
        ("affine", "float32"),
        ("affine", "bfloat16"),
    ],
)
def test_real_images_come_back_at_full_depth(coupling, precision):
    x = pytest.importorskip("data_loaders").load("digits").init_batch(16)[0]
    config = GlowConfig(x.shape[1:3], n_levels=2, depth=32, width=16, flow_coupling=coupling, channels=x.shape[3])
    glow = Glow(config, precision=precision, seed=1)
    glow.initialize(x)
    perturb(glow, scale=0.01)
    np.testing.assert_array_equal(glow.decode(glow.encode(x)), x)
    np.testing.assert_array_equal(glow.decode(glow.encode(x, noise=noise_for(config, len(x)))), x)


def test_one_image_and_many():
    glow = model("affine")
    x, _, noise = inputs(glow, 5)
    together = glow.log_prob(x, noise=noise)
    alone = tf.concat([glow.log_prob(x[i : i + 1], noise=noise[i : i + 1]) for i in range(5)], 0)
    assert_near("log_prob", alone, together, MODEL["latents"])
    assert glow.encode(x[:0])[0].shape[0] == 0


# Likelihood


@pytest.mark.parametrize("name", ["tall, 1 channel", "classes"])
def test_log_prob_is_the_change_of_variables(name):
    """Against the determinant of the numeric Jacobian of `encode`, moved by the dequantisation noise."""
    fields: dict[str, Any] = {"image_size": (4, 8), **CLASSES} if name == "classes" else {"image_size": (8, 4)}
    glow = random_glow(channels=1, precision="float64", **fields)
    config = glow.config
    x, y = random_images(config, 1), np.array([1]) if config.ycond else None
    noise = noise_for(config, 1, np.float64)
    d, h = config.dimensions, 1e-6

    def repeated(value, times):
        return None if value is None else np.repeat(value, times, 0)

    moves = np.reshape(np.eye(d) * h, [d, *config.image_shape])
    both = np.concatenate([noise + moves, noise - moves])
    eps = np.asarray(flatten_latents(glow.encode(repeated(x, 2 * d), repeated(y, 2 * d), both)))
    jacobian = (eps[:d] - eps[d:]) / (2 * h)
    latent = np.asarray(flatten_latents(glow.encode(x, y, noise)))[0]
    base = -0.5 * np.sum(latent**2 + math.log(2 * math.pi))
    wanted = base + np.linalg.slogdet(jacobian)[1] - d * math.log(config.n_bins)
    assert_near("log_prob", glow.log_prob(x, y, noise), [wanted], MODEL["numeric"])


def test_bits_per_dim_and_losses(name):
    glow = model(name)
    config = glow.config
    x, y, noise = inputs(glow)
    log_prob = np.asarray(glow.log_prob(x, y, noise))
    bits = -log_prob / (config.dimensions * math.log(2))
    assert_near("bits_per_dim", glow.bits_per_dim(x, y, noise), bits, MODEL["latents"])
    losses = glow.losses(tf.constant(x), None if y is None else tf.constant(y), tf.constant(noise))
    assert set(losses) == {"loss", "bits_x", "bits_y", "pred_error"}
    assert_near("bits_x", losses["bits_x"], bits, MODEL["latents"])
    assert_near("loss", losses["loss"], losses["bits_x"] + config.weight_y * losses["bits_y"], MODEL["latents"])
    if config.has_classifier:
        logits = np.asarray(glow.classify(x, noise), np.float64)
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        assert_near("bits_y", losses["bits_y"], -log_p[range(3), y] / math.log(2), MODEL["latents"])
        np.testing.assert_array_equal(losses["pred_error"], (logits.argmax(1) != y).astype(float))
    else:
        np.testing.assert_array_equal(losses["bits_y"], np.zeros(3))
        np.testing.assert_array_equal(losses["pred_error"], np.ones(3))


def test_float64_and_bfloat16_are_the_same_model():
    exact, rounded = (random_glow(precision=precision) for precision in ("float64", "bfloat16"))
    plain = model("affine")
    for glow in (exact, rounded):
        for name, variable in glow.named_variables().items():
            variable.assign(tf.cast(plain.named_variables()[name], variable.dtype))
    x, _, noise = inputs(plain)
    wanted = plain.bits_per_dim(x, noise=noise)
    assert_near("bits_per_dim", exact.bits_per_dim(x, noise=noise), wanted, MODEL["latents"])
    assert_near("bits_per_dim", rounded.bits_per_dim(x, noise=noise), wanted, MODEL["bfloat16 bits"])
    assert np.any(rounded.bits_per_dim(x, noise=noise) != wanted)
    assert all(v.dtype in (tf.float32, tf.bool) for v in rounded.variables)


def test_memory_modes_give_one_likelihood():
    x, _, noise = inputs(model("affine"))
    values = [model("affine").losses(tf.constant(x), None, tf.constant(noise), memory=m)["loss"] for m in MEMORY]
    for memory, value in zip(MEMORY, values, strict=True):
        assert_near(f"loss with memory={memory!r}", value, values[0], MODEL["latents"])


@pytest.mark.parametrize(("precision", "graphs"), [("float32", 1), ("bfloat16", 2)])
def test_likelihoods_share_the_graph_of_encode(precision, graphs):
    """Where both have the same arithmetic; tracing is what calls `to_latents`."""
    glow = random_glow(precision=precision, n_levels=1, depth=1, image_size=(2, 4))
    x, _, noise = inputs(glow)
    with mock.patch.object(glow, "to_latents", wraps=glow.to_latents) as traced:
        glow.encode(x)
        glow.log_prob(x, noise=noise)
        glow.bits_per_dim(x[:1])
    assert traced.call_count == graphs


def test_labels_matter():
    glow = model("classes")
    x, _, noise = inputs(glow)
    zero, one = (glow.log_prob(x, np.full(3, label), noise) for label in (0, 1))
    assert np.all(zero != one)
    mixed = glow.log_prob(x, [0, 1, 0], noise)
    assert_near("log_prob", mixed, [zero[0], one[1], zero[2]], MODEL["latents"])
    flat = unflatten_latents(glow.config, np.zeros([2, glow.config.dimensions], np.float32))
    assert np.any(glow.decode_continuous(flat, [0, 0]) != glow.decode_continuous(flat, [1, 1]))


def test_classify_takes_the_middle_of_the_bin():
    glow = model("classes")
    x, _, _ = inputs(glow)
    middle = np.full(x.shape, 0.5 / 256, np.float32)
    assert_near("logits", glow.classify(x), glow.classify(x, middle), MODEL["latents"])
    assert glow.classify(x).shape == [3, 3]


# Noise and seeds


def test_noise_is_fresh_unless_it_is_given():
    glow = model("affine")
    x, _, noise = inputs(glow)
    assert np.any(glow.log_prob(x) != glow.log_prob(x))
    np.testing.assert_array_equal(glow.log_prob(x, noise=noise), glow.log_prob(x, noise=noise))
    for a, b in zip(glow.encode(x), glow.encode(x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_drawn_noise_is_a_function_of_the_seed():
    glow = model("affine")
    first, same, other = (np.asarray(glow.draw_noise([4, 8, 4, 3], seed)) for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)
    assert first.min() >= 0
    assert first.max() <= 1 / 256
    glow.log_prob(random_images(glow.config, 4), noise=first)


def test_initial_weights_are_a_function_of_the_seed():
    config = model("affine").config
    first, same, other = (Glow(config, seed=seed).named_variables() for seed in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], same[name])
    assert np.any(np.asarray(first["level_0/permutation/W"]) != np.asarray(other["level_0/permutation/W"]))
    levels = [np.asarray(first[f"level_{i}/coupling/net/l_2/W"]) for i in (0, 1)]
    assert np.any(levels[0] != levels[1])


def test_samples():
    glow = model("classes")
    first = glow.sample(4, [0, 1, 2, 0], seed=5)
    assert (first.shape, first.dtype) == ([4, 8, 4, 3], tf.uint8)
    np.testing.assert_array_equal(first, glow.sample(4, [0, 1, 2, 0], seed=5))
    assert np.any(first != glow.sample(4, [0, 1, 2, 0], seed=6))
    assert np.any(glow.sample(4, [0, 1, 2, 0]) != glow.sample(4, [0, 1, 2, 0]))


def test_samples_are_standard_normal_latents():
    eps = model("affine").sample_latents(2000, seed=1)
    for i, latent in enumerate(eps):
        assert abs(np.mean(latent)) < 0.01
        assert abs(np.std(latent) - 1) < 0.01
        for other in eps[:i]:
            size = min(np.size(latent), np.size(other))
            correlation = np.corrcoef(np.ravel(latent)[:size], np.ravel(other)[:size])[0, 1]
            assert abs(correlation) < 0.05, "levels must not share their numbers"


def test_temperature_per_image():
    glow = model("affine")
    hot = glow.sample_latents(3, 1.0, seed=1)
    mixed = glow.sample_latents(3, [1.0, 0.5, 0.0], seed=1)
    for a, b in zip(hot, mixed, strict=True):
        np.testing.assert_array_equal(b, np.asarray(a) * np.array([1.0, 0.5, 0.0], np.float32)[:, None, None, None])
    np.testing.assert_array_equal(glow.sample(3, temperature=[1.0, 1.0, 1.0], seed=1), glow.sample(3, seed=1))
    cold = glow.sample(3, temperature=0.0, seed=1)
    np.testing.assert_array_equal(cold[0], cold[1])


def test_global_random_state_is_not_touched():
    tf.random.set_seed(1)
    wanted = tf.random.uniform([3])
    tf.random.set_seed(1)
    model("affine").sample(2, seed=3)
    np.testing.assert_array_equal(tf.random.uniform([3]), wanted)


# Initialisation


def test_initialization():
    glow = Glow(model("affine").config, seed=1)
    x = random_images(glow.config, 16)
    noise = noise_for(glow.config, 16)
    assert not bool(glow.initialized)
    before = {name: np.asarray(v) for name, v in glow.named_variables().items()}
    glow.initialize(x, noise=noise)
    assert bool(glow.initialized)
    changed = {name for name, v in glow.named_variables().items() if np.any(before[name] != np.asarray(v))}
    wanted = {f"level_{i}/{p}/{w}" for i in (0, 1) for p in _ACTNORMS for w in ("b", "logs")}
    assert changed == wanted | {"initialized"}
    # at first every coupling's network is zero, so the top latent is a rotation of a normalised one
    top = np.asarray(glow.encode(x, noise=noise)[-1])
    scale = 0.5 * (1 + math.tanh(1.0))  # sigmoid(2), once for every step
    assert abs(top.mean()) < 0.1
    assert 0.5 * scale < top.std() < 1.5


_ACTNORMS = ("actnorm", "coupling/net/l_1", "coupling/net/l_2")


def test_initialization_ignores_missing_labels():
    glow = Glow(model("classes").config)
    glow.initialize(random_images(glow.config, 8))
    assert bool(glow.initialized)


def test_named_variables():
    glow = model("classes")
    names = glow.named_variables()
    assert len(names) == len(glow.variables)
    assert names["level_1/actnorm/b"].shape == [2, 24]
    assert names["split_0/conv/W"].shape == [3, 3, 7, 12]
    assert {"initialized", "classifier/W", "prior/p/W", "prior/y_emb/b", "level_0/coupling/net/l_last/logs"} <= set(
        names
    )


# In graphs, and through autodiff: as users trace them, so with autograph


def test_losses_train_in_a_function():
    glow = random_glow(**CLASSES, seed=3, n_levels=1)
    x, y, noise = (tf.constant(value) for value in inputs(glow, 8))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(glow.losses(x, y, noise)["loss"])
        gradients = tape.gradient(loss, glow.trainable_variables)
        for variable, gradient in zip(glow.trainable_variables, gradients, strict=True):
            variable.assign_sub(1e-3 * tf.clip_by_norm(gradient, 1.0))
        return loss, gradients

    first, gradients = step()
    assert all(gradient is not None for gradient in gradients)
    for _ in range(5):
        last, _ = step()
    assert last < first


def test_public_methods_inside_a_function():
    glow = model("classes")
    x, y, noise = inputs(glow)
    traced = tf.function(lambda x, y, noise: (glow.log_prob(x, y, noise), glow.decode(glow.encode(x, y), y)))
    log_prob, image = traced(tf.constant(x), tf.constant(y), tf.constant(noise))
    with eagerly():
        assert_near("log_prob", log_prob, glow.log_prob(x, y, noise), MODEL["latents"])
    np.testing.assert_array_equal(image, x)


def test_configuration_as_a_dict():
    glow = Glow({"image_size": 8, "n_levels": 1, "depth": 1, "width": 2})
    assert glow.config == GlowConfig(8, n_levels=1, depth=1, width=2)


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"memory": "none"},
            "memory is 'none'; allowed are auto, a size such as 6GiB or 500MB, store, checkpoint, reversible",
        ),
        ({"precision": "float16"}, "precision='float16': allowed are float32, tf32, bfloat16, float64"),
    ],
)
def test_constructor_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        Glow(GlowConfig(8, n_levels=1, depth=1, width=2), **options)
    with pytest.raises(glow_tf.ConfigError, match="unknown field 'size'"):
        Glow({"size": 8})


@pytest.mark.parametrize("method", ["log_prob", "bits_per_dim", "encode", "initialize"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype(np.float32), r"uint8 images \[N, 8, 4, 3\], not float32; values are 0 to 255"),
        (lambda x: x.astype(np.int32), "not int32"),
        (lambda x: x[0], r"not shape \(8, 4, 3\)"),
        (lambda x: x[..., :1], r"not shape \(3, 8, 4, 1\)"),
        (lambda x: x.transpose(0, 2, 1, 3), r"not shape \(3, 4, 8, 3\)"),
    ],
)
def test_wrong_images(method, change, message):
    glow = model("affine")
    with pytest.raises(ValueError, match=message):
        getattr(glow, method)(change(inputs(glow)[0]))


@pytest.mark.parametrize("method", ["log_prob", "bits_per_dim", "encode"])
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "this model is class-conditional: give y, a label from 0 to 2 for every image"),
        ([0, 1, 3], "y holds labels from 0 to 3; this model has 0 to 2"),
        ([0, -1, 2], "y holds labels from -1 to 2"),
        ([0.0, 1.0, 2.0], r"y must be whole numbers \[N\], not float32 of shape \(3,\)"),
        ([[0, 1, 2]], r"y must be whole numbers \[N\], not int32 of shape \(1, 3\)"),
        (1, "y must be whole numbers"),
    ],
)
def test_wrong_labels(method, y, message):
    glow = model("classes")
    with pytest.raises(ValueError, match=message):
        getattr(glow, method)(inputs(glow)[0], y)
    if method == "encode":
        with pytest.raises(ValueError, match=message):
            glow.decode(glow.sample_latents(3), y)
        with pytest.raises(ValueError, match=message):
            glow.sample(3, y)


@pytest.mark.parametrize("method", ["log_prob", "bits_per_dim", "encode", "initialize", "classify"])
@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (np.zeros([3, 8, 4]), r"noise must be \[N, 8, 4, 3\], not shape \(3, 8, 4\)"),
        (np.zeros([3, 4, 8, 3]), r"not shape \(3, 4, 8, 3\)"),
        (np.full([3, 8, 4, 3], 0.5), r"noise must be in \[0, 1/256\], not from 0\.5 to 0\.5"),
        (np.full([3, 8, 4, 3], -1e-3), r"noise must be in \[0, 1/256\]"),
        (np.full([3, 8, 4, 3], np.nan), r"noise must be in \[0, 1/256\]"),
    ],
)
def test_wrong_noise(method, noise, message):
    glow = model("classes")
    x, y, _ = inputs(glow)
    labels = {} if method == "classify" else {"y": y}
    with pytest.raises(ValueError, match=message):
        getattr(glow, method)(x, **labels, noise=noise)


def test_wrong_latents():
    glow = model("affine")
    wanted = r"this model's latents are \[N, 4, 2, 6\], \[N, 2, 1, 24\]"
    eps = glow.sample_latents(3)
    with pytest.raises(ValueError, match=rf"{wanted}, in a list; flat latents go through unflatten_latents"):
        glow.decode(flatten_latents(eps))
    for wrong in (eps[:1], eps[::-1], [*eps, eps[0]], [latent[0] for latent in eps], []):
        with pytest.raises(ValueError, match=f"{wanted}, not"):
            glow.decode(wrong)


def test_classify_without_a_classifier():
    with pytest.raises(ValueError, match="no classifier: it needs ycond and weight_y > 0"):
        model("affine").classify(inputs(model("affine"))[0])


def test_wrong_temperature():
    with pytest.raises(ValueError, match=r"temperature must be a number or one per image \[n\], not shape \(1, 2\)"):
        model("affine").sample(2, temperature=[[0.5, 0.7]])
