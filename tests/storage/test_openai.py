"""OpenAI's checkpoints: every variable in and out again, and errors that name what does not fit."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.storage.openai import from_openai, openai_entries
from tests.golden_cases import ROOT, Case, names, to_openai

CHECKPOINTS = [
    *((name, "model") for name in names("parity")),
    *((name, which) for name in names("ddi") for which in ("pre", "post")),
    *((name, which) for name in names("train") for which in ("start", "end")),
]


def stored_in(case, checkpoint):
    """The model's variables that the checkpoint holds, but for averages and what follows from others."""
    reader = tf.train.load_checkpoint(str(case.folder / f"{checkpoint}.ckpt"))
    skipped = ("/ExponentialMovingAverage", "indices_inverse")
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith("model/") and not name.endswith(skipped)
    }


@pytest.mark.parametrize(("name", "checkpoint"), CHECKPOINTS)
def test_every_variable_there_and_back(name, checkpoint):
    case = Case(name)
    glow, stored = case.load(checkpoint), stored_in(case, checkpoint)
    variables = {key: np.asarray(variable) for key, variable in glow.named_variables().items()}
    ours = to_openai(glow, variables)
    assert set(ours) == set(stored) == set(openai_entries(glow))
    for key, value in stored.items():
        np.testing.assert_array_equal(ours[key], np.reshape(value, ours[key].shape), err_msg=key)
    again = from_openai(glow, ours)
    assert set(again) == set(variables) - {"initialized"}
    for key, value in again.items():
        np.testing.assert_array_equal(value, variables[key], err_msg=key)
    assert bool(glow.initialized)


def test_trainable_variables_are_the_original_ones():
    for name in names("parity"):
        case = Case(name)
        glow = glow_tf.Glow(case.config)
        entries = openai_entries(glow)
        for variable in case.settings["variables"]:
            if not variable["name"].endswith("indices_inverse"):
                assert entries[variable["name"]].variable.trainable == variable["trainable"], variable["name"]


def test_average():
    case = Case(names("train")[0])
    glow = case.load("end", average=True)
    reader = tf.train.load_checkpoint(str(case.folder / "end.ckpt"))
    for key, value in to_openai(glow, glow.named_variables()).items():
        average = reader.get_tensor(f"{key}/ExponentialMovingAverage")
        np.testing.assert_array_equal(value, np.reshape(average, value.shape))


def test_options_and_config_as_dict():
    case = Case("reverse_additive")
    prefix = case.folder / "model.ckpt"
    glow = glow_tf.load_openai_checkpoint(str(prefix), case.config.to_dict(), precision="float64", memory="store")
    assert (glow.config, glow.dtype, glow.memory) == (case.config, tf.float64, "store")


def test_partial_values():
    glow = glow_tf.Glow(Case("reverse_additive").config)
    some = {"level_0/actnorm/b": np.zeros(glow.named_variables()["level_0/actnorm/b"].shape)}
    ours = to_openai(glow, some)
    assert set(ours) == {f"model/0/{k}/actnorm_center/b" for k in range(glow.config.depth)}
    assert set(from_openai(glow, ours)) == set(some)


# What does not fit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": -1}, "it has model/0/.*, which this configuration does not have"),
        ({"depth": 1}, "it lacks model/0/"),
        ({"width": 1}, r"model/0/0/f1/l_1/W is \[3, 3, \d+, \d+\] where this configuration needs \[3, 3, "),
        ({"n_levels": -1}, "it has model/1/0/"),
    ],
)
def test_other_sizes(change, message):
    case = Case("reverse_affine")
    fields = {key: getattr(case.config, key) + value for key, value in change.items()}
    with pytest.raises(glow_tf.CheckpointError, match=message) as raised:
        glow_tf.load_openai_checkpoint(case.folder / "model.ckpt", dataclasses.replace(case.config, **fields))
    assert "model.ckpt does not fit the configuration {" in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow_permutation": "invconv"}, "it lacks model/0/0/invconv/W"),
        ({"flow_permutation": "shuffle"}, "it lacks model/0/0/shuffle/indices"),
        ({"learntop": True}, "it lacks model/prior/p/W"),
        ({"ycond": True}, "it lacks model/prior/y_emb/W"),
        ({"flow_coupling": "additive"}, r"model/0/0/f1/l_last/W is .* where this configuration needs"),
    ],
)
def test_other_kinds(change, message):
    case = Case("reverse_affine")
    config = dataclasses.replace(case.config, **{"learntop": False, **change})
    with pytest.raises(glow_tf.CheckpointError, match=message):
        glow_tf.load_openai_checkpoint(case.folder / "model.ckpt", config)


def test_lu_and_dense_are_told_apart():
    case = Case("lu_affine")
    with pytest.raises(glow_tf.CheckpointError, match=r"it lacks .*invconv/W.*it has .*invconv/L"):
        glow_tf.load_openai_checkpoint(
            case.folder / "model.ckpt", dataclasses.replace(case.config, lu_decomposed=False)
        )


def test_missing_surplus_and_wrong_shape_together(tmp_path):
    case = Case("reverse_additive")
    stored = stored_in(case, "model")
    stored["model/0/0/actnorm_centre/b"] = stored.pop("model/0/0/actnorm_center/b")
    stored["model/0/1/actnorm_scale/logs"] = np.zeros([1, 1, 1, 5], np.float32)
    prefix = write_checkpoint(tmp_path / "model.ckpt", stored)
    with pytest.raises(glow_tf.CheckpointError) as raised:
        glow_tf.load_openai_checkpoint(prefix, case.config)
    for part in (
        "it lacks model/0/0/actnorm_center/b;",
        "it has model/0/0/actnorm_centre/b, which",
        "model/0/1/actnorm_scale/logs is [1, 1, 1, 5] where this configuration needs [12]",
    ):
        assert part in str(raised.value)


def test_many_problems_are_counted():
    case = Case("reverse_additive")
    with pytest.raises(glow_tf.CheckpointError, match=r"it lacks (model/\S+ ){7}model/\S+ and \d+ more"):
        glow_tf.load_openai_checkpoint(case.folder / "model.ckpt", dataclasses.replace(case.config, depth=20))


def test_no_average():
    case = Case("reverse_additive")
    with pytest.raises(glow_tf.CheckpointError, match="holds no Polyak average of model/0/0/"):
        case.load(average=True)


def test_indices_that_are_no_permutation(tmp_path):
    case = Case("shuffle_affine")
    stored = stored_in(case, "model")
    stored["model/0/0/shuffle/indices"] = np.zeros_like(stored["model/0/0/shuffle/indices"])
    prefix = write_checkpoint(tmp_path / "model.ckpt", stored)
    with pytest.raises(glow_tf.CheckpointError, match="level_0/permutation/indices is no permutation"):
        glow_tf.load_openai_checkpoint(prefix, case.config)


# Damage


@pytest.fixture
def prefix(tmp_path):
    """A copy to damage."""
    for path in (ROOT / "reverse_additive").glob("model.ckpt.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "model.ckpt"


CONFIG = Case("reverse_additive").config


def write_checkpoint(prefix, arrays):
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=[tf.constant(value) for value in arrays.values()],
    )
    return prefix


def test_nothing_there(tmp_path):
    with pytest.raises(glow_tf.CheckpointError, match=r"no checkpoint here \(there is no .*model\.ckpt\.index\)"):
        glow_tf.load_openai_checkpoint(tmp_path / "model.ckpt", CONFIG)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", bytes(5000)])
def test_not_a_checkpoint(prefix, content):
    prefix.with_name("model.ckpt.index").write_bytes(content)
    with pytest.raises(glow_tf.CheckpointError, match=r"model\.ckpt: not a TensorFlow checkpoint"):
        glow_tf.load_openai_checkpoint(prefix, CONFIG)


def test_missing_data_file(prefix):
    prefix.with_name("model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(glow_tf.CheckpointError, match=r"model\.ckpt: (damaged|not a TensorFlow) checkpoint"):
        glow_tf.load_openai_checkpoint(prefix, CONFIG)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_data_file(prefix, share):
    path = prefix.with_name("model.ckpt.data-00000-of-00001")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(glow_tf.CheckpointError, match=r"model\.ckpt: damaged checkpoint"):
        glow_tf.load_openai_checkpoint(prefix, CONFIG)


def test_changed_byte_in_the_data_file(prefix):
    path = prefix.with_name("model.ckpt.data-00000-of-00001")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(glow_tf.CheckpointError, match=r"model\.ckpt: damaged checkpoint"):
        glow_tf.load_openai_checkpoint(prefix, CONFIG)


def test_impossible_configuration():
    with pytest.raises(glow_tf.ConfigError, match="depth=0"):
        glow_tf.load_openai_checkpoint(ROOT / "reverse_additive" / "model.ckpt", {"image_size": 8, "depth": 0})


def test_a_context_is_refused(prefix):
    with pytest.raises(glow_tf.ConfigError, match="OpenAI's models are given no context"):
        glow_tf.load_openai_checkpoint(prefix, {**CONFIG.to_dict(), "context": "grayscale"})
