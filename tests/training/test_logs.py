"""Log files and the terminal's lines."""

from __future__ import annotations

import json
import re

import glow_tf
from data_loaders import progress
from glow_tf.runtime import launched_by_horovod
from glow_tf.training import Trainer
from glow_tf.training.logging import ResultLog, RunLogger
from glow_tf.training.state import METRICS, TrainState
from tests.training.common import MODEL, TRAIN

RESULT = dict.fromkeys(METRICS, 1.23456)


def test_a_resumed_log_drops_what_will_come_again(tmp_path):
    path = tmp_path / "train.txt"
    log = ResultLog(path, {"lr": 1}, None)
    for epoch in (1, 2, 3):
        log.log(RESULT, epoch=epoch, n_processed=10 * epoch)
    whole = path.read_text()
    path.write_text(whole + '{"epoch": 4, "n_pro')
    ResultLog(path, {}, TrainState(epochs_done=3, n_processed=30))
    assert path.read_text() == whole
    ResultLog(path, {}, TrainState(epochs_done=2, n_processed=30))  # stopped while epoch 3 was evaluated
    assert path.read_text() == "".join(whole.splitlines(keepends=True)[:3])
    ResultLog(path, {}, TrainState(epochs_done=0, n_processed=5))
    assert json.loads(path.read_text()) == {"lr": 1}
    ResultLog(path, {"lr": 2}, None)
    assert json.loads(path.read_text()) == {"lr": 2}


def test_metrics_are_strings_of_four_decimals(tmp_path):
    ResultLog(tmp_path / "x", {}, None).log(RESULT, epoch=1)
    line = json.loads((tmp_path / "x").read_text().splitlines()[1])
    assert line == {"epoch": 1, "loss": "1.2346", "bits_x": "1.2346", "bits_y": "1.2346", "pred_loss": "1.2346"}


def test_numbers_with_all_digits_are_beside_each_log(tmp_path):
    path, table = tmp_path / "train.txt", tmp_path / "train.csv"
    log = ResultLog(path, {"lr": 1}, None)
    for epoch in (1, 2, 3):
        log.log({**RESULT, "recovery_error": 1e-7}, epoch=epoch, n_processed=10 * epoch, n_images=10 * epoch)
    head, *rows = table.read_text().splitlines()
    assert head == "epoch,n_processed,n_images,train_time,skipped,loss,bits_x,bits_y,pred_loss,recovery_error"
    assert rows[1] == "2,20,20,,,1.23456,1.23456,1.23456,1.23456,1e-07"
    state = TrainState(epochs_done=2, n_processed=20)
    ResultLog(path, {"lr": 1}, state)
    assert table.read_text().splitlines() == [head, *rows[:2]]
    old = [row.rpartition(",")[0] for row in (head, *rows[:2])]
    table.write_text("".join(f"{row}\n" for row in old))  # of a run of an earlier version
    ResultLog(path, {"lr": 1}, state)
    assert table.read_text().splitlines() == [head, *(f"{row}," for row in old[1:])]
    table.unlink()  # of one earlier still, which had none
    ResultLog(path, {"lr": 1}, state)
    assert table.read_text().splitlines() == [head, *(row.replace("1.23456", "1.2346") + "," for row in old[1:])]


def test_the_terminal_hears_of_a_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    trainer = Trainer(glow_tf.Glow({**MODEL, "channels": 1}), {**TRAIN, "logdir": str(tmp_path), "steps": 2})
    log = RunLogger(trainer, "digits", resumed=False)
    log.start_epoch(4)
    for step in (1, 2):
        trainer.state.step = step
        trainer.state.add(RESULT)
        log.took_step(RESULT, 16)
    log.end_epoch()
    log.end(RESULT, tmp_path / "s.png")
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert "1 worker(s) with 16 images a step, 4 steps an epoch; from the beginning to step 2" in lines[0]
    assert re.fullmatch(r"on (\d+ CPU core\(s\)|\d+ .*); float32, memory reversible", lines[1])
    assert lines[2] == "epoch 1 step 1/4: bits/dim 1.235"
    assert lines[3].startswith("test bits/dim 1.2346 with the last weights after 2 steps; samples: ")
    assert lines[4] == f"next: python -m glow_tf sample {tmp_path} --out samples.png; tensorboard --logdir {tmp_path}"
    assert re.fullmatch(
        r"epoch 1: 2 of 4 steps, \d+:\d\d left, bits/dim 1.235 \(epoch 1.235\), [\d.]+ images/s, \d+:\d\d to the end",
        said.err.splitlines()[-1],
    )


def test_who_counts_as_a_launcher():
    assert not launched_by_horovod({"SLURM_PROCID": "1", "SLURM_NTASKS": "8"})
    assert not launched_by_horovod({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"})
    assert launched_by_horovod({"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2"})
    assert launched_by_horovod({"PMI_RANK": "3", "PMI_SIZE": "8"})
    assert launched_by_horovod({"HOROVOD_ELASTIC": "1", "HOROVOD_RANK": "0", "HOROVOD_SIZE": "1"})
