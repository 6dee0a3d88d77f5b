"""Checkpoint folders: what is kept, what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.storage import checkpoints
from glow_tf.storage.checkpoints import CheckpointError
from glow_tf.storage.files import StorageError
from glow_tf.storage.variables import read_variables
from glow_tf.training.state import TrainState

FIRST = TrainState(step=1)
PARSE = TrainState.from_dict


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
    state = {**TrainState(step=3, train_time=1.5).to_dict()}
    checkpoint = checkpoints.save(tmp_path, kept, state)
    fresh = groups()
    assert checkpoints.restore(checkpoint, fresh, PARSE).to_dict() == state
    assert fresh["weights"]["level_0/w"].numpy().tolist() == [[5.0, 6.0]]
    assert bool(fresh["average"]["flag"])


def test_the_last_two_and_the_best_stay(tmp_path):
    for step in range(1, 6):
        checkpoints.save(tmp_path, groups(), {"step": step}, best=step == 2)
    names = [c.name for c in checkpoints.list_checkpoints(tmp_path)]
    assert [name.split("-")[0] for name in names] == ["000000002", "000000004", "000000005"]
    assert checkpoints.best_checkpoint(tmp_path) == tmp_path / names[0]


def test_two_of_the_same_step_stay_apart(tmp_path):
    first, second = (checkpoints.save(tmp_path, groups(), {"step": 1, "skipped": n}) for n in (1, 2))
    assert first != second
    restored = checkpoints.restore_latest(tmp_path, groups(), PARSE)
    assert restored and restored.skipped == 2


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
    assert checkpoints.restore_latest(tmp_path, groups(), PARSE, said.append) == FIRST
    assert len(said) == 1 and str(path) in said[0]


def test_a_damaged_one_goes_out_of_the_way(tmp_path):
    """It neither counts among the kept ones nor is met again at the next resume."""
    for step in (1, 2):
        newest = checkpoints.save(tmp_path, groups(), {"step": step})
    (newest / "weights.npz").unlink()
    said: list[str] = []
    for _ in range(2):
        assert checkpoints.restore_latest(tmp_path, groups(), PARSE, said.append) == FIRST
    assert len(said) == 1 and (tmp_path / f"damaged-{newest.name}").is_dir()
    again = checkpoints.save(tmp_path, groups(), {"step": 1})
    assert [c.name for c in checkpoints.list_checkpoints(tmp_path)] == ["000000001-1", again.name]


def test_the_best_is_known_from_the_moment_that_it_is_there(tmp_path, monkeypatch):
    """A crash right after the checkpoint appeared (nothing runs after the rename) loses no best one."""
    checkpoints.save(tmp_path, groups(), {"step": 1}, best=True)
    monkeypatch.setattr(checkpoints, "_prune", lambda folder: None)
    best = checkpoints.save(tmp_path, groups(), {"step": 2}, best=True)
    monkeypatch.undo()
    for step in (3, 4, 5):
        checkpoints.save(tmp_path, groups(), {"step": step})
    assert checkpoints.best_checkpoint(tmp_path) == best
    assert [c.name[:9] for c in checkpoints.list_checkpoints(tmp_path)] == ["000000002", "000000004", "000000005"]


def test_a_crash_while_old_ones_are_removed_leaves_no_half_ones(tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoints.save(tmp_path, groups(), {"step": step})

    def killed(path, ignore_errors=False):
        (path / "weights.npz").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, groups(), {"step": 3})
    monkeypatch.undo()
    for checkpoint in checkpoints.list_checkpoints(tmp_path):
        checkpoints.verify(checkpoint)
    checkpoints.save(tmp_path, groups(), {"step": 4})
    assert [c.name[:9] for c in sorted(tmp_path.iterdir())] == ["000000003", "000000004"]


def test_every_harm_to_every_file_is_found_and_named(tmp_path):
    """Each file cut at every eighth of its length, with a bit flipped in each, emptied, lengthened, removed."""
    checkpoint = checkpoints.save(tmp_path, groups(), {"step": 1})
    checkpoints.verify(checkpoint)
    harmed = 0
    for path in sorted(checkpoint.iterdir()):
        whole = path.read_bytes()
        eighths = [len(whole) * i // 8 for i in range(8)]
        contents: list[bytes | None] = [*(whole[:at] for at in eighths), whole + b"\n", None]
        for at in eighths:
            contents.append(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        for content in contents:
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            if path.name == "manifest.json" and content is not None and _as_json(content) == _as_json(whole):
                continue  # white space
            with pytest.raises(CheckpointError, match=path.name if path.name != "manifest.json" else "."):
                checkpoints.verify(checkpoint)
            harmed += 1
        path.write_bytes(whole)
    assert harmed >= 5 * 18 - 4
    checkpoints.verify(checkpoint)


def _as_json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_nothing_there_and_nothing_good(tmp_path):
    assert checkpoints.restore_latest(tmp_path / "none", groups(), PARSE) is None
    (checkpoints.save(tmp_path, groups(), {"step": 1}) / "weights.npz").unlink()
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        checkpoints.restore_latest(tmp_path, groups(), PARSE, lambda line: None)


def test_variables_that_do_not_fit_are_named(tmp_path):
    checkpoint = checkpoints.save(tmp_path, groups(), {"step": 1})
    other = groups()
    other["weights"]["extra"] = tf.Variable(1.0)
    with pytest.raises(CheckpointError, match=r"lacks \['extra'\]"):
        checkpoints.restore(checkpoint, other, PARSE)
    other = groups()
    other["weights"]["level_0/w"] = tf.Variable([1.0])
    with pytest.raises(CheckpointError, match=r"level_0/w is float32 \(1, 2\)"):
        checkpoints.restore(checkpoint, other, PARSE)


def test_a_write_that_fails_leaves_the_ones_before(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, groups(), {"step": 1})

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_synced", full)
    with pytest.raises(StorageError, match=f"{tmp_path} cannot be written: No space"):
        checkpoints.save(tmp_path, groups(), {"step": 2})
    assert [c.name for c in tmp_path.iterdir()] == ["000000001-1"]


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "weights.npz"
    arrays: dict[str, Any] = {"level_0/w": np.array([object()], dtype=object), "flag": True}
    np.savez(path, **arrays)
    with pytest.raises(CheckpointError, match="level_0/w is object"):
        read_variables(path, groups()["weights"], CheckpointError)


def test_leftovers_of_a_crash_are_removed(tmp_path):
    (tmp_path / ".writing-000000009-9").mkdir()
    checkpoint = checkpoints.save(tmp_path, groups(), {"step": 1})
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert set(json.loads((checkpoint / "manifest.json").read_text())) == checkpoints.FILES
