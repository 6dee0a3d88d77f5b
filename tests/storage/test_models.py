"""A model on disk comes back bit for bit; a folder that holds none, or a damaged one, is named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.storage.models import CONFIG_FILE, WEIGHTS_FILE
from glow_tf.storage.variables import read_variables
from tests.random_weights import random_glow, random_images


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    glow = random_glow(n_levels=1, depth=2, flow_permutation="shuffle", n_y=3, ycond=True, weight_y=0.5)
    glow.initialized.assign(value=True)
    folder = tmp_path_factory.mktemp("saved") / "deep" / "model"
    glow_tf.save(glow, folder)
    return glow, folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to damage."""
    return shutil.copytree(saved[1], tmp_path / "model")


def arrays_of(folder):
    with np.load(folder / WEIGHTS_FILE) as stored:
        return dict(stored)


def assert_same(ours, wanted):
    assert set(ours) == set(wanted)
    for name, variable in wanted.items():
        np.testing.assert_array_equal(ours[name], variable)


def test_there_and_back(saved):
    glow, folder = saved
    loaded = glow_tf.load(folder)
    assert loaded.config == glow.config
    assert_same(loaded.named_variables(), glow.named_variables())
    assert bool(loaded.initialized)
    x = random_images(glow.config, 2)
    for ours, wanted in zip(loaded.encode(x, [0, 2]), glow.encode(x, [0, 2]), strict=True):
        np.testing.assert_array_equal(ours, wanted)


def test_files(saved):
    glow, folder = saved
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    assert glow_tf.GlowConfig.from_json(folder / CONFIG_FILE) == glow.config
    assert set(arrays_of(folder)) == set(glow.named_variables())


def test_saving_again_replaces(saved, folder):
    other = random_glow(n_levels=1, depth=1, seed=5)
    glow_tf.save(other, folder)
    assert_same(glow_tf.load(folder).named_variables(), other.named_variables())
    assert len(list(folder.iterdir())) == 2


def test_other_values(saved, tmp_path):
    glow, _ = saved
    values = {"level_0/actnorm/b": tf.ones([2, 12])}
    glow_tf.save(glow, tmp_path, values)
    loaded = glow_tf.load(tmp_path).named_variables()
    np.testing.assert_array_equal(loaded["level_0/actnorm/b"], np.ones([2, 12]))
    np.testing.assert_array_equal(loaded["level_0/actnorm/logs"], glow.named_variables()["level_0/actnorm/logs"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"level_9/actnorm/b": np.ones([2, 12])}, "level_9/actnorm/b: this model has no such variable"),
        ({"level_0/actnorm/b": np.ones([12])}, r"level_0/actnorm/b: \(12,\) given for a variable of shape \(2, 12\)"),
    ],
)
def test_other_values_that_do_not_fit(saved, tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        glow_tf.save(saved[0], tmp_path, values)
    assert not list(tmp_path.iterdir())


def test_options(saved):
    loaded = glow_tf.load(saved[1], memory="store", precision="float64")
    assert (loaded.memory, loaded.dtype) == ("store", tf.float64)
    for name, variable in saved[0].named_variables().items():
        np.testing.assert_array_equal(loaded.named_variables()[name], variable)  # float32 is exact in float64


def test_failed_save_leaves_the_old_one(saved, folder, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="No space left"):
        glow_tf.save(random_glow(n_levels=1, depth=1), folder)
    monkeypatch.undo()
    assert_same(glow_tf.load(folder).named_variables(), saved[0].named_variables())
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(glow_tf.SavedModelError, match=f"{folder} holds no saved model: there is no {name}"):
        glow_tf.load(folder)


def test_no_such_folder(tmp_path):
    with pytest.raises(glow_tf.SavedModelError, match="nowhere holds no saved model"):
        glow_tf.load(tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_weights(folder, share):
    data = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(data[: int(share * len(data))])
    with pytest.raises(glow_tf.SavedModelError, match=f"{WEIGHTS_FILE}: damaged"):
        glow_tf.load(folder)


def test_changed_bytes_are_noticed(folder):
    """Any changed byte either is noticed, or lies where it changes nothing."""
    data = (folder / WEIGHTS_FILE).read_bytes()
    wanted = arrays_of(folder)
    glow = glow_tf.load(folder)
    random = np.random.default_rng(0)
    noticed = 0
    # many of them in the directory at the end of the file, which tells where everything is
    places = np.concatenate([random.integers(0, len(data), 60), random.integers(len(data) - 1500, len(data), 200)])
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << random.integers(8)
        (folder / WEIGHTS_FILE).write_bytes(changed)
        try:
            read_variables(folder / WEIGHTS_FILE, glow.named_variables(), glow_tf.SavedModelError, cast=True)
        except glow_tf.SavedModelError as error:
            noticed += 1
            assert WEIGHTS_FILE in str(error)
        else:
            assert_same(glow.named_variables(), wanted)
    assert noticed > 100


@pytest.mark.parametrize("content", ["text", "array", "pickle"])
def test_other_files_in_place_of_the_weights(folder, content):
    with (folder / WEIGHTS_FILE).open("wb") as file:
        if content == "text":
            file.write(b"weights")
        elif content == "array":
            np.save(file, np.ones(3))
        else:
            np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(glow_tf.SavedModelError, match=f"{WEIGHTS_FILE}: damaged"):
        glow_tf.load(folder)


def test_pickled_array_inside(folder):
    arrays = arrays_of(folder)
    arrays["initialized"] = np.array({"a": 1}, object)
    np.savez(folder / WEIGHTS_FILE, **arrays)
    with pytest.raises(glow_tf.SavedModelError, match=f"{WEIGHTS_FILE}: initialized is object"):
        glow_tf.load(folder)


def test_missing_and_surplus_variables(folder):
    arrays = arrays_of(folder)
    arrays["level_0/actnorm/c"] = arrays.pop("level_0/actnorm/b")
    np.savez(folder / WEIGHTS_FILE, **arrays)
    with pytest.raises(
        glow_tf.SavedModelError, match=r"lacks \['level_0/actnorm/b'\] and has besides \['level_0/actnorm/c'\]"
    ):
        glow_tf.load(folder)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones([3, 12], np.float32), r"level_0/actnorm/b is float32 \(3, 12\), not float32 \(2, 12\)"),
        (np.full([2, 12], "a"), r"level_0/actnorm/b is <U1 \(2, 12\), not float32"),
        (np.ones([2, 12], complex), r"level_0/actnorm/b is complex128"),
    ],
)
def test_wrong_shape_or_type(folder, value, message):
    np.savez(folder / WEIGHTS_FILE, **{**arrays_of(folder), "level_0/actnorm/b": value})
    with pytest.raises(glow_tf.SavedModelError, match=message):
        glow_tf.load(folder)


def test_indices_that_are_no_permutation(folder):
    arrays = arrays_of(folder)
    arrays["level_0/permutation/indices"][1, 0] = arrays["level_0/permutation/indices"][1, 1]
    np.savez(folder / WEIGHTS_FILE, **arrays)
    with pytest.raises(glow_tf.SavedModelError, match="level_0/permutation/indices is no permutation"):
        glow_tf.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 3}, r"is float32 \(2, .*not float32 \(3, "),
        ({"n_levels": 2}, "does not fit the model: it lacks .*level_1/"),
        ({"ycond": False, "weight_y": 0.0}, "has besides .*classifier/W"),
    ],
)
def test_another_configuration(saved, folder, change, message):
    fields = {**saved[0].config.to_dict(), **change}
    (folder / CONFIG_FILE).write_text(json.dumps(fields))
    with pytest.raises(glow_tf.SavedModelError, match=message):
        glow_tf.load(folder)


def test_configuration_that_is_none(folder):
    (folder / CONFIG_FILE).write_text("{")
    with pytest.raises(glow_tf.ConfigError, match=r"config\.json: not a JSON file"):
        glow_tf.load(folder)
