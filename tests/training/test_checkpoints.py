"""Checkpoint folders: what is kept, what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.training import checkpoints
from glow_tf.training.checkpoints import CheckpointError


def groups():
    def variables(scale):
        return {"level_0/w": tf.Variable([[1.0, 2.0]]) * 0 + scale, "flag": tf.constant(True)}

    return {
        stem: {name: tf.Variable(value) for name, value in variables(i).items()}
        for i, stem in enumerate(("weights", "optimizer", "average"))
    }


def test_round_trip(tmp_path):
    kept = groups()
    kept["weights"]["level_0/w"].assign([[5.0, 6.0]])
    checkpoint = checkpoints.save(tmp_path, kept, {"step": 3, "other": [1.5]})
    fresh = groups()
    assert checkpoints.restore(checkpoint, fresh) == {"step": 3, "other": [1.5]}
    assert fresh["weights"]["level_0/w"].numpy().tolist() == [[5.0, 6.0]]
    assert bool(fresh["average"]["flag"])


def test_the_last_two_and_the_best_stay(tmp_path):
    for step in range(1, 6):
        checkpoints.save(tmp_path, groups(), {"step": step}, best=step == 2)
    names = [c.name for c in checkpoints.list_checkpoints(tmp_path)]
    assert [name.split("-")[0] for name in names] == ["000000002", "000000004", "000000005"]
    assert checkpoints.best_checkpoint(tmp_path) == tmp_path / names[0]


def test_two_of_the_same_step_stay_apart(tmp_path):
    first, second = (checkpoints.save(tmp_path, groups(), {"step": 1, "n": n}) for n in (1, 2))
    assert first != second
    assert checkpoints.restore_latest(tmp_path, groups()) == {"step": 1, "n": 2}


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "manifest", "empty manifest"])
@pytest.mark.parametrize("file", ["weights.npz", "state.json"])
def test_damage_is_named_and_the_one_before_used(tmp_path, file, harm):
    checkpoints.save(tmp_path, groups(), {"step": 1})
    path = checkpoints.save(tmp_path, groups(), {"step": 2}) / file
    content = path.read_bytes()
    if harm == "flip":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif harm == "cut":
        path.write_bytes(content[:-1])
    elif harm == "remove":
        path.unlink()
    else:
        path = path.with_name("manifest.json")
        path.write_text("{}" if harm.startswith("empty") else "[")
    said: list[str] = []
    assert checkpoints.restore_latest(tmp_path, groups(), said.append) == {"step": 1}
    assert len(said) == 1 and str(path) in said[0]


def test_nothing_there_and_nothing_good(tmp_path):
    assert checkpoints.restore_latest(tmp_path / "none", groups()) is None
    (checkpoints.save(tmp_path, groups(), {"step": 1}) / "weights.npz").unlink()
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        checkpoints.restore_latest(tmp_path, groups(), lambda line: None)


def test_variables_that_do_not_fit_are_named(tmp_path):
    checkpoint = checkpoints.save(tmp_path, groups(), {"step": 1})
    other = groups()
    other["weights"]["extra"] = tf.Variable(1.0)
    with pytest.raises(CheckpointError, match="missing \\['extra'\\]"):
        checkpoints.restore(checkpoint, other)
    other = groups()
    other["weights"]["level_0/w"] = tf.Variable([1.0])
    with pytest.raises(CheckpointError, match=r"level_0/w is float32\[1, 2\]"):
        checkpoints.restore(checkpoint, other)


def test_a_write_that_fails_leaves_the_ones_before(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, groups(), {"step": 1})

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "seal", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(tmp_path, groups(), {"step": 2})
    assert [c.name for c in tmp_path.iterdir()] == ["000000001-1"]


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "weights.npz"
    arrays: dict[str, Any] = {"level_0/w": np.array([object()], dtype=object), "flag": True}
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="pickle"):
        checkpoints.read_variables(path, groups()["weights"])


def test_leftovers_of_a_crash_are_removed(tmp_path):
    (tmp_path / ".writing-000000009-9").mkdir()
    checkpoint = checkpoints.save(tmp_path, groups(), {"step": 1})
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert set(json.loads((checkpoint / "manifest.json").read_text())) == checkpoints.FILES
