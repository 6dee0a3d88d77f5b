"""What must be exact stays exact where a device rounds the operands of float32 products to TF32, and only that."""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.layers import products
from glow_tf.layers.products import product
from tests.eagerly import eagerly
from tests.emulated_tf32 import SCOPE, emulated, tf32_off  # noqa: F401
from tests.random_weights import noise_for, random_glow, random_images
from tests.tolerances import TF32

FIELDS: dict[str, Any] = {"image_size": 4, "channels": 1, "width": 5, "n_levels": 2, "depth": 1}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def relative_difference(ours, wanted):
    return float(np.abs(np.asarray(ours, np.float64) - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("inner", [12, 300])  # joined into one product, and a sum of four
@pytest.mark.parametrize("jit", [False, True])
def test_a_split_product_is_as_exact_as_float32(inner, jit):
    a, b = normal(40, inner), normal(inner, 30, seed=1)
    function = tf.function(product, jit_compile=jit, autograph=False)
    arguments = tf.constant(a, tf.float32), tf.constant(b, tf.float32)
    with emulated():
        exact = relative_difference(function(*arguments), a @ b)
    assert exact <= TF32["exact product"][0]
    with emulated(split=False):
        rounded = relative_difference(tf.function(product, autograph=False)(*arguments), a @ b)
    assert rounded > 100 * TF32["exact product"][0]  # so the emulation rounds, and a split is what helps


def test_a_split_product_has_the_gradient_of_a_product():
    a, b = normal(7, 5), normal(3, 6, 5, seed=1)
    with emulated(), tf.GradientTape() as tape:
        x, y = (tf.constant(value, tf.float32) for value in (a, b))
        tape.watch([x, y])
        result = product(x, y, transpose_b=True)
        d_a, d_b = tape.gradient(tf.reduce_sum(tf.sin(result)), [x, y])
    d = np.cos(np.einsum("ij,skj->sik", a, b))
    assert relative_difference(d_a, np.einsum("sik,skj->ij", d, b)) <= TF32["exact product"][0]
    assert relative_difference(d_b, np.einsum("sik,ij->skj", d, a)) <= TF32["exact product"][0]


def test_where_tf32_is_in_use(monkeypatch):
    """Only on a GPU from Ampere on, and only where TensorFlow's switch is on."""
    config = tf.config.experimental
    assert not products.tf32_in_use()  # no GPU, or the switch is off
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["GPU:0"])
    for capability, since_ampere in (((7, 0), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(config, "get_device_details", lambda gpu, c=capability: {"compute_capability": c})
        for switch in (True, False):
            monkeypatch.setattr(config, "tensor_float_32_execution_enabled", lambda switch=switch: switch)
            assert products.tf32_in_use() == (since_ampere and switch)


@functools.cache
def model_and_batch(precision="float32"):
    glow = random_glow(precision=precision, scale=0.2, **FIELDS)
    return glow, random_images(glow.config, 2), noise_for(glow.config, 2)


def there_and_back(glow, x, noise):
    """The latents, and the image that they are decoded to; not traced, so the products are computed anew."""
    with eagerly():
        encoding = glow.to_latents(glow.continuous(x, noise))
        return encoding.eps, glow.from_latents(encoding.eps)[0]


def difference(ours, wanted):
    pairs = zip(tf.nest.flatten(ours), tf.nest.flatten(wanted), strict=True)
    return max(float(tf.reduce_max(tf.abs(a - b))) for a, b in pairs)


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_latents_and_images_are_exact(precision):
    glow, x, noise = model_and_batch(precision)
    wanted = there_and_back(glow, x, noise)
    with emulated():
        assert difference(there_and_back(glow, x, noise), wanted) <= TF32["latents"][0]


def test_every_product_on_the_way_must_be_exact():
    """Rounding any one of them, in the steps, the splits or the prior, moves latents or images."""
    glow, x, noise = model_and_batch()
    wanted = there_and_back(glow, x, noise)
    with emulated(split=False, which=lambda i: False) as count:
        assert difference(there_and_back(glow, x, noise), wanted) == 0
    assert count[0] >= 2 * (2 * 6 + 3)  # both ways: two steps, a split, a prior
    moved = []
    for one in range(count[0]):
        with emulated(split=False, which=functools.partial(operator.eq, one)):
            moved.append(difference(there_and_back(glow, x, noise), wanted))
    used = [value for value in moved if value > 0]
    assert len(used) == count[0] - 2  # the way back has no use for the affine maps' offsets, which come with them
    assert min(used) > TF32["latents"][0]


def loss_and_gradients(glow, x, noise, memory):
    with eagerly(), tf.GradientTape() as tape:
        loss = tf.reduce_mean(glow.losses(x, None, noise, memory)["loss"])
    return loss, tape.gradient(loss, glow.trainable_variables)


def distance(ours, wanted):
    """Of two gradients, relative to the second's norm."""
    return float(
        tf.linalg.global_norm([a - b for a, b in zip(ours, wanted, strict=True)]) / tf.linalg.global_norm(wanted)
    )


def test_training_in_float32_is_exact_and_in_tf32_is_near():
    glow, x, noise = model_and_batch()
    wanted_loss, wanted = loss_and_gradients(glow, x, noise, "store")
    with emulated():
        loss, gradients = loss_and_gradients(glow, x, noise, "reversible")
    assert abs(loss - wanted_loss) <= TF32["loss"][0]
    assert distance(gradients, wanted) <= TF32["exact gradient"][0]
    glow, *_ = model_and_batch("tf32")
    assert distance(loss_and_gradients(glow, x, noise, "reversible")[1], wanted) <= TF32["exact gradient"][0]  # no GPU
    with emulated():
        rounded = {memory: loss_and_gradients(glow, x, noise, memory)[1] for memory in ("store", "reversible")}
    assert TF32["exact gradient"][0] < distance(rounded["store"], wanted) <= TF32["gradient"][0]
    assert distance(rounded["reversible"], rounded["store"]) <= TF32["gradient"][0]


def test_every_product_of_the_model_comes_by():
    glow, x, noise = model_and_batch()

    @tf.function(autograph=False)
    def everything(x, noise):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(glow.losses(x, None, noise)["loss"])
        eps = glow.to_latents(glow.continuous(x, noise)).eps
        return tape.gradient(loss, glow.trainable_variables), glow.from_latents(eps)

    with emulated(which=lambda i: False):
        graph = everything.get_concrete_function(tf.constant(x), tf.constant(noise)).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    products_of_float32 = [
        n for n in nodes if "MatMul" in n.op or "Conv2D" in n.op or n.op in ("Einsum", "_FusedMatMul")
    ]
    products_of_float32 = [n for n in products_of_float32 if n.attr["T"].type == tf.float32.as_datatype_enum]
    assert len(products_of_float32) > 20
    assert [n.name for n in products_of_float32 if SCOPE not in n.name] == []


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision='tf16': allowed are float32, tf32, bfloat16, float64"):
        glow_tf.Glow({"image_size": 8}, precision="tf16")
