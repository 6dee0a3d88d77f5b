"""The LiteRT file: built-in operations only, and the live model's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.serving.litert import export_litert
from tests.eagerly import eagerly
from tests.random_weights import context_for, label_of, noise_for, random_glow, random_images

ONE_LEVEL: dict[str, Any] = {"image_size": 8, "n_levels": 1}
MODELS: dict[str, dict[str, Any]] = {
    "affine": {"image_size": (8, 16), "flow_permutation": "invconv"},
    "additive, 5 bits, fixed top": {
        "flow_coupling": "additive", "n_bits_x": 5, "learntop": False, "flow_permutation": "shuffle", **ONE_LEVEL
    },
    "classes, gray": {"channels": 1, "ycond": True, "n_y": 3, "lu_decomposed": True, **ONE_LEVEL},
    "context": {"context_channels": 2, **ONE_LEVEL},
    "classes and context": {"context": "grayscale", "ycond": True, "n_y": 3, **ONE_LEVEL},
}  # fmt: skip


def open_file(path):
    """The interpreter, and a function that calls a signature."""
    interpreter = tf.lite.Interpreter(model_path=str(path))
    return interpreter, lambda name, **inputs: interpreter.get_signature_runner(name)(**inputs)


@pytest.fixture(scope="module", params=MODELS)
def exported(request, tmp_path_factory):
    glow = random_glow(**MODELS[request.param])
    path = tmp_path_factory.mktemp("litert") / "new" / "model.tflite"
    export_litert(glow, path)
    return glow, *open_file(path)


def labels(glow, n):
    """The inputs that condition the model."""
    y, context = label_of(glow.config, n), context_for(glow, random_images(glow.config, n))
    given = {} if y is None else {"label": y.astype(np.int32)}
    return given if context is None else {**given, "context": context}


@pytest.mark.parametrize("n", [1, 3])
@eagerly()
def test_the_live_model_s_numbers(exported, n):
    glow, _, call = exported
    x, y, noise = random_images(glow.config, n), label_of(glow.config, n), noise_for(glow.config, n)
    context = context_for(glow, x)
    log_prob = call("log_prob_given_noise", images=x, noise=noise, **labels(glow, n))["log_prob"]
    np.testing.assert_allclose(log_prob, glow.log_prob(x, y, noise, context), rtol=2e-6)
    latents = call("encode", images=x, **labels(glow, n))["latents"]
    np.testing.assert_allclose(
        latents, glow_tf.flatten_latents(glow.encode(x, y, context=context)), atol=2e-5, rtol=2e-5
    )
    decoded = call("decode", latents=latents, **labels(glow, n))
    kept = 8 - glow.config.n_bits_x
    np.testing.assert_array_equal(decoded["images"], x >> kept << kept)
    assert decoded["finite"].tolist() == [True] * n
    eps = glow.sample_latents(n, 0.7, seed=1)
    images = call("decode", latents=np.asarray(glow_tf.flatten_latents(eps)), **labels(glow, n))["images"]
    difference = np.abs(images.astype(int) - glow.decode(eps, y, context))
    assert difference.max() <= 2**kept and np.mean(difference > 0) < 0.01  # pixels at the edge of a bin


@eagerly()
def test_images_that_left_float32_are_told(exported):
    glow, _, call = exported
    latents = np.array(glow_tf.flatten_latents(glow.sample_latents(3, 0.7, seed=1)))
    latents[1] = np.inf
    eps, context = glow_tf.unflatten_latents(glow.config, latents), context_for(glow, random_images(glow.config, 3))
    decoded = glow.decode_and_check(eps, label_of(glow.config, 3), context)
    for finite in (decoded[1].numpy(), call("decode", latents=latents, **labels(glow, 3))["finite"]):
        assert finite.tolist() == [True, False, True]


def test_signatures_and_operations(exported):
    glow, interpreter, _ = exported
    label = [*(["label"] if glow.config.takes_labels else []), *(["context"] if glow.config.context_given else [])]
    assert {name: sorted(it["inputs"]) for name, it in interpreter.get_signature_list().items()} == {
        "encode": sorted(["images", *label]),
        "decode": sorted(["latents", *label]),
        "log_prob_given_noise": sorted(["images", "noise", *label]),
    }
    names = {operation["op_name"] for operation in interpreter._get_ops_details()}
    assert not [name for name in names if name.startswith("Flex") or name in ("CUSTOM", "WHILE")]


@eagerly()
def test_float16_weights_are_half_the_size_and_round_to_11_bits(tmp_path):
    """Each weight is wrong by at most 2^-12 of itself: after a dozen of them a latent of 4 may be wrong by 1e-2.

    The likelihood has its square, so that a dimension is wrong by at most 4e-2 nats, and their mean by much less.
    """
    glow = random_glow(width=64, **ONE_LEVEL)
    for name, float16 in (("32", False), ("16", True)):
        export_litert(glow, tmp_path / name, float16=float16)
    weights = sum(variable.shape.num_elements() for variable in glow.trainable_variables)
    saved = (tmp_path / "32").stat().st_size - (tmp_path / "16").stat().st_size
    assert saved > 1.3 * weights  # of 2 bytes for each weight that is no bias
    _, call = open_file(tmp_path / "16")
    x, noise = random_images(glow.config, 2), noise_for(glow.config, 2)
    log_prob = call("log_prob_given_noise", images=x, noise=noise)["log_prob"]
    bits = np.abs(log_prob - glow.log_prob(x, noise=noise)) / (glow.config.dimensions * np.log(2))
    assert 0 < bits.max() < 1e-2
    latents = call("encode", images=x)["latents"]
    wrong = np.abs(latents - glow_tf.flatten_latents(glow.encode(x)))
    assert 0 < wrong.max() < 1e-2
    np.testing.assert_array_equal(call("decode", latents=latents)["images"], x)


@eagerly()
def test_bfloat16_models_compute_in_float32(tmp_path):
    exact, glow = (random_glow(precision=precision, **ONE_LEVEL) for precision in ("float32", "bfloat16"))
    export_litert(glow, tmp_path / "x.tflite")
    x, noise = random_images(glow.config, 1), noise_for(glow.config, 1)
    log_prob = open_file(tmp_path / "x.tflite")[1]("log_prob_given_noise", images=x, noise=noise)["log_prob"]
    np.testing.assert_allclose(log_prob, exact.log_prob(x, noise=noise), rtol=2e-6)


def test_what_cannot_be_exported(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='LiteRT computes in float32, and this model has precision="float64"'):
        export_litert(random_glow(image_size=8, precision="float64"), tmp_path / "x.tflite")
    monkeypatch.setattr("glow_tf.serving.litert._MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="a LiteRT file holds at most"):
        export_litert(random_glow(image_size=8), tmp_path / "x.tflite")
    assert not list(tmp_path.iterdir())
