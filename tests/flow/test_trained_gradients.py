"""At the paper's depth, after real training: the ways to the gradient agree, and inputs are recovered."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import data_loaders
import glow_tf
from glow_tf.flow.memory import MEMORY
from tests.benchmarks.reconstruction import recovery_errors
from tests.near import assert_near
from tests.tolerances import LEVEL, MODEL

pytestmark = pytest.mark.slow
STEPS = 100


@pytest.fixture(scope="module")
def trained():
    """(the model after STEPS steps on the digits, a batch of test images, noise)."""
    data = data_loaders.load("digits")
    config = glow_tf.GlowConfig(
        image_size=8, channels=1, n_levels=2, depth=32, width=16, flow_coupling="affine", learntop=True
    )
    glow = glow_tf.Glow(config, memory="store")  # the quickest; what follows is asked for by name
    glow.initialize(data.init_batch(64)[0])
    trainer = glow_tf.Trainer(glow, {"n_train": 1500, "n_batch_train": 16, "epochs_warmup": 1, "polyak_epochs": 1})
    losses = [trainer.step(x)["loss"] for x, _ in data.train_batches(16).take(STEPS)]
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 1, "nothing was learned, so nothing would be shown"
    x = next(iter(data.test_batches(8)))[0]
    return glow, x, glow.draw_noise(x.shape, [1, 2])


def all_gradients(glow, x, noise):
    """{memory: {variable: gradient of the mean loss}}."""
    variables, results = glow.named_variables(), {}
    names = [name for name, variable in variables.items() if variable.trainable]
    for memory in MEMORY:

        @tf.function(autograph=False)
        def gradient(x, noise, memory=memory):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(glow.losses(x, None, noise, memory)["loss"])
            return tape.gradient(loss, [variables[name] for name in names])

        results[memory] = dict(zip(names, gradient(x, noise), strict=True))
    return results


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_modes_agree_after_training(trained, precision):
    glow, x, noise = trained
    if precision == "float64":
        exact = glow_tf.Glow(glow.config, precision="float64")
        for name, variable in exact.named_variables().items():
            variable.assign(tf.cast(glow.named_variables()[name], variable.dtype))
        glow, noise = exact, tf.cast(noise, tf.float64)
    results = all_gradients(glow, x, noise)
    for memory in ("checkpoint", "reversible"):
        for name, wanted in results["store"].items():
            what = f"gradient of {name}, {memory} against store"
            assert_near(what, results[memory][name], wanted, LEVEL[f"gradient {precision}"], floor=0)


def test_backward_pass_recovers_every_input(trained):
    glow, x, noise = trained
    for errors in recovery_errors(glow, x, noise):
        assert_near("errors of the steps' inputs, last step first", errors, np.zeros(32), MODEL["recovered"])
