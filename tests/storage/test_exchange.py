"""What one TensorFlow wrote another reads, and goes on with."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.training import train
from tests.storage.exchange import MODEL, SEED, STEPS, make, results, settings
from tests.tolerances import EXPORT, GOLDEN
from tests.training.common import final_arrays

WRITTEN = os.environ.get("GLOW_TF_EXCHANGE")  # the folder that tests/storage/exchange.py wrote
pytestmark = pytest.mark.skipif(WRITTEN is None, reason="needs files of another TensorFlow (make matrix)")


@pytest.fixture(scope="module")
def folder():
    return Path(str(WRITTEN))


@pytest.fixture(scope="module")
def wanted(folder):
    with np.load(folder / "results.npz") as stored:
        return dict(stored)


def compare(given, wanted):
    """Seeds draw the same numbers everywhere; the rest is float32 rounding."""
    assert set(given) == set(wanted)
    np.testing.assert_array_equal(given["images"], wanted["images"])
    assert np.mean(given["samples"] != wanted["samples"]) <= EXPORT["images"][0]
    for name, kind in [("bits_per_dim", "bits_per_dim"), ("seeded log_prob", "log_prob"), ("latents", "encode")]:
        scale = max(1.0, np.abs(wanted[name]).max())
        np.testing.assert_allclose(given[name], wanted[name], rtol=0, atol=EXPORT[kind][0] * scale, err_msg=name)


def test_a_saved_model(folder, wanted):
    compare(results(glow_tf.load(folder / "saved")), wanted)


def test_a_checkpoint_of_tensorflow(folder, wanted):
    glow = glow_tf.Glow(make().config)
    tf.train.Checkpoint(glow=glow).read(str(folder / "checkpoint")).assert_consumed()
    compare(results(glow), wanted)


def test_an_export(folder, wanted):
    call = tf.saved_model.load(str(folder / "export" / "1")).signatures
    x, y, seed = tf.constant(wanted["images"]), tf.range(4) % 3, tf.constant(SEED)
    latents = call["encode"](images=x, label=y)["latents"]
    np.testing.assert_array_equal(call["decode"](latents=latents, label=y)["images"], x)
    given = {
        **wanted,
        "seeded log_prob": call["log_prob"](images=x, label=y, seed=seed)["log_prob"].numpy(),
        "latents": latents.numpy(),
        "samples": call["sample"](n=tf.constant(4), label=y, temperature=tf.constant(0.7), seed=seed)["images"].numpy(),
    }
    compare(given, wanted)


def test_a_run_goes_on(folder, tmp_path):
    """From the very bits that were written; its second half differs by rounding only."""
    logdir = shutil.copytree(folder / "run", tmp_path / "run")
    stopped, whole = (dict(np.load(folder / f"{name}.npz")) for name in ("stopped", "whole"))
    for name, array in final_arrays(logdir).items():
        np.testing.assert_array_equal(array, stopped[name], err_msg=name)
    result = train(MODEL, {**settings(logdir), "resume": True})
    assert result.steps == 12 > STEPS
    assert result.test and result.test["bits_x"] == pytest.approx(float(whole.pop("bits_x")), rel=GOLDEN["bits"][0])
    ended = final_arrays(logdir)
    assert set(ended) == set(whole)
    for name, array in ended.items():
        tolerance = GOLDEN["training slots" if name.startswith("optimizer/") else "training weights"][0]
        scale = max(1.0, np.abs(whole[name]).max())
        np.testing.assert_allclose(array, whole[name], rtol=0, atol=tolerance * scale, err_msg=name)
