"""Training on TFRecords: resuming, and damage that ends a run in one line."""

from __future__ import annotations

import pytest

from glow_tf.commands import train as command
from glow_tf.training import train
from tests.data_loaders.test_tfrecords_damage import flip, shard
from tests.training.common import assert_same_run, flags

MODEL = {"image_size": 8, "n_levels": 1, "depth": 1, "width": 8, "flow_coupling": 0, "learntop": False}
TRAIN = {"problem": "celeba", "anchor_size": 8, "n_batch_train": 4, "n_batch_test": 4, "n_batch_init": 8, "n_train": 18,
         "n_test": 3, "epochs": 2, "epochs_warmup": 1, "polyak_epochs": 10}  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("untraced_module")]


def test_a_run_in_two_parts_is_the_same_run(write_records, tmp_path, undrawn):
    root = write_records({"train": (6, 6, 6), "validation": (3,)})
    settings = {**TRAIN, "data_dir": str(root), "dal": 2}
    train(MODEL, {**settings, "logdir": str(tmp_path / "whole")})
    train(MODEL, {**settings, "logdir": str(tmp_path / "parts"), "steps": 3})
    train(MODEL, {**settings, "logdir": str(tmp_path / "parts"), "resume": True})
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_damaged_record_ends_a_run_in_one_line_or_is_counted(write_records, tmp_path, capsys, undrawn):
    root = write_records({"train": (6, 6, 6), "validation": (3,)})
    at = flip(shard(root), 3)
    settings = {**MODEL, **TRAIN, "data_dir": str(root), "steps": 5}
    assert command.main(flags(tmp_path / "stopped", **settings)) == 1
    said = capsys.readouterr().err
    assert f"train-r03-s-0001-of-0003.tfrecords, record at byte {at}: " in said
    assert said.startswith("train.py: error: ") and said.count("\n") == 1
    assert command.main(flags(tmp_path / "on", **settings, skip_corrupt=True)) == 0
    printed = capsys.readouterr()
    (warning,) = (line for line in printed.err.splitlines() if line.startswith("train.py: warning: "))
    assert f"record at byte {at}" in warning
    assert "1 damaged images were skipped" in printed.out
