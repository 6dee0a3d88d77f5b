"""Log files and the terminal's lines."""

from __future__ import annotations

import json

from glow_tf.runtime import launched_by_horovod
from glow_tf.training.logging import Progress, ResultLog
from glow_tf.training.state import METRICS, TrainState

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


def test_plain_lines_where_there_is_no_terminal(capsys):
    progress = Progress(shown=True, total_steps=100, every=0.0)
    state = TrainState()
    progress.start_epoch(1, 50, 0)
    for step in (1, 2):
        state.step = step
        state.add(RESULT)
        progress.step(state, RESULT, 16)
    progress.end_epoch()
    first, second = capsys.readouterr().out.splitlines()
    assert first == "epoch 1 step 1/50: bits/dim 1.235 (epoch 1.235)"
    assert "images/s" in second and second.endswith("left")
    Progress(shown=False, total_steps=1).say("nothing")
    assert not capsys.readouterr().out


def test_who_counts_as_a_launcher():
    assert not launched_by_horovod({"SLURM_PROCID": "1", "SLURM_NTASKS": "8"})
    assert not launched_by_horovod({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"})
    assert launched_by_horovod({"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2"})
    assert launched_by_horovod({"PMI_RANK": "3", "PMI_SIZE": "8"})
    assert launched_by_horovod({"HOROVOD_ELASTIC": "1", "HOROVOD_RANK": "0", "HOROVOD_SIZE": "1"})
