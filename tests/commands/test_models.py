"""Which weights are taken of which folder."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.commands.arguments import CommandError
from glow_tf.commands.folders import find_model
from glow_tf.commands.models import open_model
from glow_tf.storage import checkpoints
from tests.commands.conftest import DIGITS, make_run

ANY = "level_0/coupling/net/l_1/W"


def weight(opened):
    return opened.glow.named_variables()[ANY].numpy()


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", polyak=False, **DIGITS).named_variables()[ANY].numpy()


def test_a_run_s_newest_checkpoint_has_both_kinds(run, tmp_path):
    found = find_model(tmp_path / "run")
    raw, polyak = open_model(found, "last"), open_model(found, "average")
    np.testing.assert_array_equal(weight(raw), run)
    np.testing.assert_array_equal(weight(polyak), 0.5 * run)
    np.testing.assert_array_equal(weight(open_model(found)), run)
    assert raw.weights == "raw weights after step 7"
    assert polyak.weights == "Polyak average after step 7"
    assert raw.glow.fingerprint() != polyak.glow.fingerprint()
    assert raw.glow.fingerprint() == open_model(found).glow.fingerprint()


def test_the_run_s_own_choice_is_the_default(tmp_path):
    wanted = make_run(tmp_path / "averaged", polyak=True, **DIGITS).named_variables()[ANY].numpy()
    np.testing.assert_array_equal(weight(open_model(find_model(tmp_path / "averaged"))), 0.5 * wanted)


def test_without_checkpoints_there_is_model(run, tmp_path):
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    found = find_model(tmp_path / "run")
    np.testing.assert_array_equal(weight(open_model(found)), run)
    np.testing.assert_array_equal(weight(open_model(found, "last")), run)
    with pytest.raises(CommandError, match="holds the raw weights only"):
        open_model(found, "average")


def test_a_damaged_checkpoint_is_named_and_skipped(run, tmp_path, capsys):
    newest = sorted((tmp_path / "run" / "checkpoints").glob("*-*"))[-1]
    (newest / "weights.npz").write_bytes(b"damaged")
    found = find_model(tmp_path / "run")
    assert open_model(found).weights == f"raw weights of {tmp_path / 'run' / 'model'}"
    assert f"{newest / 'weights.npz'}: 7 bytes" in capsys.readouterr().err
    assert open_model(found, "average").weights == "Polyak average after step 3"
    with pytest.raises(ValueError, match="7 bytes"):
        open_model(find_model(newest))


def test_one_checkpoint(run, tmp_path):
    oldest = sorted((tmp_path / "run" / "checkpoints").glob("*-*"))[0]
    assert open_model(find_model(oldest), "average").weights == "Polyak average after step 3"


@pytest.mark.parametrize(("polyak", "kind", "factor"), [(False, "raw weights", 1), (True, "Polyak average", 0.5)])
def test_the_best_checkpoint_has_what_the_run_evaluates_with(tmp_path, polyak, kind, factor):
    glow = make_run(tmp_path / "run", polyak=polyak, **DIGITS)
    location = find_model(tmp_path / "run")
    with pytest.raises(CommandError, match="has no best checkpoint"):
        open_model(location, "best")
    variables = glow.named_variables()
    variables[ANY].assign_add(np.ones(variables[ANY].shape, np.float32))
    best = variables[ANY].numpy()
    average = {name: tf.Variable(0.5 * variable) for name, variable in variables.items() if variable.trainable}
    groups = {"weights": variables, "optimizer": {"t": tf.Variable(9)}, "average": average}
    checkpoints.save(tmp_path / "run" / "checkpoints", groups, {"step": 9}, best=True)
    variables[ANY].assign_add(np.ones(variables[ANY].shape, np.float32))
    for step in (10, 11, 12):
        checkpoints.save(tmp_path / "run" / "checkpoints", groups, {"step": step})
    chosen = open_model(location, "best")
    assert chosen.weights == f"{kind} after step 9"
    np.testing.assert_array_equal(weight(chosen), factor * best)
    newest = sorted((tmp_path / "run" / "checkpoints").glob("*-*"))[-1]
    with pytest.raises(CommandError, match="is one checkpoint; give its run's folder"):
        open_model(find_model(newest), "best")


def test_a_run_that_has_saved_nothing(run, tmp_path):
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.rmtree(tmp_path / "run" / "model")
    with pytest.raises(CommandError, match="saved nothing yet"):
        open_model(find_model(tmp_path / "run"))


def test_a_saved_model(run, tmp_path):
    opened = open_model(find_model(tmp_path / "run" / "model"))
    np.testing.assert_array_equal(weight(opened), run)
    with pytest.raises(CommandError, match="one set of weights"):
        open_model(find_model(tmp_path / "run" / "model"), "last")


def test_folders_without_a_model(error, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "there is no such folder" in error("sample", tmp_path / "none")
    assert "no run (config.json), no saved model (weights.npz) and no export (1/saved_model.pb)" in error(
        "sample", tmp_path / "empty"
    )
    (tmp_path / "file").write_text("")
    assert "there is no such folder" in error("sample", tmp_path / "file")
    (tmp_path / "empty" / "weights.npz").write_bytes(b"x")
    assert "no config.json" in error("sample", tmp_path / "empty")
    (tmp_path / "export" / "1").mkdir(parents=True)
    (tmp_path / "export" / "1" / "saved_model.pb").write_bytes(b"x")
    assert "a SavedModel, but not one of glow_tf" in error("sample", tmp_path / "export")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"model": 1, "train": {}}', '{"model": {}, "train": {}}', "[" * 9999]
)
def test_a_config_that_is_none(error, tmp_path, text):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(text)
    error("sample", tmp_path / "run")


def test_weights_that_are_none(error, models, tmp_path):
    shutil.copytree(models / "rgb", tmp_path / "bad")
    (tmp_path / "bad" / "weights.npz").write_bytes(b"PK\x03\x04 and nonsense")
    assert "weights.npz: damaged" in error("sample", tmp_path / "bad")
    config = json.loads((models / "rgb" / "config.json").read_text())
    shutil.copy(models / "rgb" / "weights.npz", tmp_path / "bad" / "weights.npz")
    (tmp_path / "bad" / "config.json").write_text(json.dumps({**config, "width": 5}))
    assert "(2, 3, 3, 7, 4), not float32" in error("sample", tmp_path / "bad")
    assert not (tmp_path / "samples.png").exists()


def test_the_fingerprint_is_of_the_weights(run, tmp_path):
    glow = glow_tf.load(tmp_path / "run" / "model")
    before = glow.fingerprint()
    glow.named_variables()[ANY].assign_add(np.full_like(run, 1e-3))
    assert glow.fingerprint() != before
