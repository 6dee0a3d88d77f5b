"""Disks that fill up, folders that cannot be written, files that vanish, and two runs in one folder: real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import data_loaders
from glow_tf.storage.checkpoints import list_checkpoints, verify
from glow_tf.storage.files import StorageError, locked
from glow_tf.training import train
from glow_tf.training.evaluation import Evaluator
from glow_tf.training.logging import ResultLog
from glow_tf.training.state import METRICS
from tests.training.common import MODEL, REPOSITORY, TRAIN, assert_same_run

SETTINGS = {**TRAIN, "epochs_full_valid": 1, "checkpoint_steps": 2}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


@pytest.fixture
def disk(tmp_path):
    """A file system of 4 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    with open(folder / "filler", "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))


class Meddling:
    """A data set that does something before some of its training batches."""

    def __init__(self, data, actions):
        self._data, self._actions = data, actions

    def __getattr__(self, name):
        return getattr(self._data, name)

    def train_batches(self, *args, start=0, **kwargs):
        for index, batch in enumerate(self._data.train_batches(*args, start=start, **kwargs), start):
            self._actions.get(index, lambda: None)()
            yield batch


@pytest.fixture(scope="module")
def digits():
    return data_loaders.load("digits", n_test=70)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, digits):
    logdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluator, "draw", lambda self, epoch: None)  # pictures are not compared
        train(MODEL, {**SETTINGS, "logdir": str(logdir)}, digits)
    return logdir


@needs_root
def test_a_run_outlives_a_full_disk(disk, digits, undisturbed, capsys):
    """Full from step 3 to 9: checkpoints and pictures fail meanwhile, and in the end nothing is missing."""
    data = Meddling(digits, {3: lambda: fill(disk), 9: lambda: (disk / "filler").unlink()})
    assert train(MODEL, {**SETTINGS, "logdir": str(disk / "run")}, data).steps == 12
    said = capsys.readouterr().out
    for name in ("checkpoints", "epoch_1_sample_0.png"):
        assert f"warning: {disk / 'run' / name} cannot be written: No space left on device" in said
    assert_same_run(undisturbed, disk / "run")


@needs_root
def test_log_lines_wait_for_room(disk):
    """The file ends with a page of the file system, so that not even half a line fits."""
    path, header = disk / "train.txt", {"padding": ""}
    header["padding"] = "x" * (4096 - len(json.dumps(header)) - 1)
    log = ResultLog(path, header, None)
    fill(disk)
    metrics = dict.fromkeys(METRICS, 1.0)
    for epoch in (1, 2):
        with pytest.raises(StorageError, match=f"{path} cannot be written: No space left"):
            log.log(metrics, epoch=epoch)
        assert path.stat().st_size == 4096
    (disk / "filler").unlink()
    log.settle()
    log.settle()
    assert [json.loads(line).get("epoch") for line in path.read_text().splitlines()] == [None, 1, 2]


@needs_root
def test_a_disk_that_stays_full_ends_the_run_with_what_was_saved(disk, digits, undisturbed, undrawn):
    data = Meddling(digits, {5: lambda: fill(disk)})
    settings = {**SETTINGS, "logdir": str(disk / "run")}
    with pytest.raises(StorageError, match="cannot be written: No space left on device"):
        train(MODEL, settings, data)
    assert not (disk / "run/exit_code").exists()
    kept = list_checkpoints(disk / "run/checkpoints")
    assert [c.name[:9] for c in kept][-1] == "000000004"
    for checkpoint in kept:
        verify(checkpoint)
    (disk / "filler").unlink()
    train(MODEL, {**settings, "resume": True}, digits)
    assert_same_run(undisturbed, disk / "run")


@needs_root
def test_a_folder_that_is_read_only_is_refused_before_any_work(disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for logdir in (disk, disk / "run"):
        with pytest.raises(StorageError, match=rf"{logdir} cannot be written: Read-only file system"):
            train(MODEL, {**SETTINGS, "logdir": str(logdir)})


def test_an_image_that_vanishes_is_named_and_the_run_goes_on_when_it_is_back(tmp_path, undrawn):
    images = tmp_path / "images"
    for part in ("train", "test"):
        (images / part).mkdir(parents=True)
        for i in range(64 if part == "train" else 4):
            pixels = np.random.default_rng(i).integers(0, 256, (8, 8)).astype(np.uint8)
            Image.fromarray(pixels).save(images / part / f"{i:02d}.png")
    settings = {**SETTINGS, "problem": "folder", "n_test": -1, "epochs": 2, "checkpoint_steps": 0}
    with pytest.warns(UserWarning, match="Only 68 images"):
        data = data_loaders.load("folder", data_dir=str(images), image_size=8, memory_mb=0)
    train(MODEL, {**settings, "logdir": str(tmp_path / "whole")}, data)
    hidden = [images / "train" / f"{i:02d}.png" for i in range(0, 64, 3)]

    def hide():
        for path in hidden:
            path.rename(path.with_suffix(".away"))

    broken = {**settings, "logdir": str(tmp_path / "run")}
    with pytest.raises(data_loaders.DataError, match=r"train/\d\d\.png is no longer there"):
        train(MODEL, broken, Meddling(data, {1: hide}))
    newest = list_checkpoints(tmp_path / "run/checkpoints")[-1]
    assert json.loads((newest / "state.json").read_text())["step"] >= 2
    for path in hidden:
        path.with_suffix(".away").rename(path)
    train(MODEL, {**broken, "resume": True}, data)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_one_run_a_folder(tmp_path, digits):
    with locked(tmp_path), pytest.raises(StorageError, match=rf"{tmp_path} is in use .*process {os.getpid()} on"):
        train(MODEL, {**SETTINGS, "logdir": str(tmp_path)}, digits)
    assert not (tmp_path / "config.json").exists()


def test_the_lock_goes_with_a_killed_process(tmp_path):
    program = f"""
import pathlib, time
from glow_tf.training.logging import ResultLog
from glow_tf.storage.files import locked
from glow_tf.training.state import METRICS
with locked(pathlib.Path({str(tmp_path)!r})):
    print("locked", flush=True)
    time.sleep(600)
"""
    holder = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
    with pytest.raises(StorageError, match=f"process {holder.pid} on"), locked(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path):
        pass
