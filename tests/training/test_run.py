"""Whole runs, in this process."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import data_loaders
import glow_tf
from glow_tf.commands import train as command
from glow_tf.flow.quantization import TESTING, noise_at
from glow_tf.storage.checkpoints import best_checkpoint, list_checkpoints
from glow_tf.training import TrainError, infer, train
from glow_tf.training.setup import make_model
from tests.eagerly import eagerly
from tests.tolerances import JIT
from tests.tolerances import MODEL as MODEL_TOLERANCES
from tests.training.common import MODEL, TRAIN, assert_same_run

pytestmark = pytest.mark.usefixtures("untraced_module")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three epochs from beginning to end."""
    logdir = tmp_path_factory.mktemp("runs") / "whole"
    return logdir, train(MODEL, {**TRAIN, "logdir": str(logdir), "checkpoint_steps": 5})


def test_everything_is_written(run):
    logdir, result = run
    assert result.exit_code == 0 and result.steps == 12
    assert (logdir / "exit_code").read_text() == "0\n"
    config = json.loads((logdir / "config.json").read_text())
    assert config["model"]["channels"] == 1 and config["model"]["n_y"] == 10
    assert config["weights in model/"] == "last step"
    header, *lines = [json.loads(line) for line in (logdir / "train.txt").read_text().splitlines()]
    assert header["n_batch_train"] == 16 and header["depth"] == 2
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    keys = {"epoch", "n_processed", "n_images", "train_time", "loss", "bits_x", "bits_y", "pred_loss"}
    assert set(lines[-1]) == keys and lines[-1]["n_processed"] == 192
    assert lines[0]["loss"] == f"{float(lines[0]['loss']):.4f}"
    _, *tests = [json.loads(line) for line in (logdir / "test.txt").read_text().splitlines()]
    assert [line["epoch"] for line in tests] == [2, 3]
    assert tests[-1]["bits_x"] == f"{result.test['bits_x']:.4f}"
    for epoch in (1, 3):
        for i in range(8):
            picture = Image.open(logdir / f"epoch_{epoch}_sample_{i}.png")
            assert picture.size == (10 * 8 * 4, 10 * 8 * 4)
        same = logdir / f"samples/epoch_{epoch:05d}_T0.70.png"
        assert same.read_bytes() == (logdir / f"epoch_{epoch}_sample_4.png").read_bytes()
    losses = [float(row.split(",")[5]) for row in (logdir / "test.csv").read_text().splitlines()[1:]]
    assert losses[-1] == result.test["loss"] and f"{losses[0]:.4f}" == tests[0]["loss"]
    assert result.samples == logdir / "epoch_3_sample_4.png"
    assert list((logdir / "events").iterdir())
    assert len(list_checkpoints(logdir / "checkpoints")) in (2, 3)
    best = best_checkpoint(logdir / "checkpoints")
    assert best is not None and best.name.startswith("000000008-")
    assert not list(logdir.rglob(".writing*"))


def test_the_saved_model_gives_the_reported_bits(run):
    logdir, _ = run
    glow = glow_tf.load(logdir / "model")
    newest = np.load(list_checkpoints(logdir / "checkpoints")[-1] / "weights.npz")
    for name, variable in glow.named_variables().items():
        np.testing.assert_array_equal(variable, newest[name])


@pytest.mark.parametrize("steps", [2, 4, 7])
def test_a_run_in_two_parts_is_the_same_run(run, tmp_path, steps, undrawn):
    """Bit-equal weights, moments, averages and log lines, wherever it stopped."""
    settings = {**TRAIN, "logdir": str(tmp_path / "parts")}
    train(MODEL, {**settings, "steps": steps})
    result = train(MODEL, {**settings, "resume": True})
    assert result.steps == 12
    assert_same_run(run[0], tmp_path / "parts")


def test_inference_encodes_the_test_set(run, tmp_path):
    logdir, _ = run
    digits = data_loaders.load("digits", n_test=70)
    out = tmp_path / "deep" / "out"
    model, config = command.parse(["--inference", "--restore_path", str(logdir), "--logdir", str(out)])
    infer(model, config)
    x, z = np.load(out / "x.npy"), np.load(out / "z.npy")
    images = np.concatenate([x for x, _ in digits.test_batches(50)])
    np.testing.assert_array_equal(x, images)
    assert z.shape == (70, 64) and z.dtype == np.float32
    glow = glow_tf.load(logdir / "model")
    noise = noise_at(glow.config, 0, 70, seed=0, stream=TESTING, dtype=glow.dtype)
    wanted = glow_tf.flatten_latents(glow.encode(images, np.zeros(70, int), noise))
    np.testing.assert_allclose(z, wanted, rtol=0, atol=MODEL_TOLERANCES["latents"][0])


def test_an_epoch_of_all_images(tmp_path, undrawn):
    settings = {**TRAIN, "logdir": str(tmp_path), "n_train": -1, "steps": 1}
    train(MODEL, settings)
    n_train = json.loads((tmp_path / "config.json").read_text())["train"]["n_train"]
    assert n_train == data_loaders.load("digits").n_train
    header = json.loads((tmp_path / "train.txt").read_text().splitlines()[0])
    assert header["train_its"] == -(-n_train // 16)


def test_a_folder_that_holds_a_run_is_refused(run):
    logdir, _ = run
    with pytest.raises(TrainError, match="holds a run already"):
        train(MODEL, {**TRAIN, "logdir": str(logdir)})
    with pytest.raises(TrainError, match=r"depth is 2 there, 3 here; lr is 0.001 there, 0.5 here"):
        train({**MODEL, "depth": 3}, {**TRAIN, "logdir": str(logdir), "resume": True, "lr": 0.5})


def test_a_complete_run_that_is_resumed_says_that_its_data_has_changed_and_nothing_twice(
    run, tmp_path, capsys, undrawn
):
    """As one that was killed between its last checkpoint and its end."""
    shutil.copytree(run[0], tmp_path / "run")
    path = tmp_path / "run/config.json"
    config = json.loads(path.read_text())
    count = config["training images"]
    path.write_text(json.dumps({**config, "training images": count + 1}))
    warnings, settings = [], {**TRAIN, "logdir": str(tmp_path / "run"), "checkpoint_steps": 5, "resume": True}
    for _ in range(2):  # the second time it is as it was the first time
        assert train(MODEL, settings).steps == 12
        assert (tmp_path / "run/test.txt").read_text() == (run[0] / "test.txt").read_text()
        warnings.append([line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")])
    assert warnings == [
        [
            f"warning: digits: {count} training images, {count + 1} when the run last started, so what follows has them"
            " in another order"
        ],
        [],
    ]


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(run, tmp_path, capsys, undrawn):
    shutil.copytree(run[0], tmp_path / "run")
    *_, before, newest = list_checkpoints(tmp_path / "run/checkpoints")
    content = bytearray((newest / "weights.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "weights.npz").write_bytes(content)
    train(MODEL, {**TRAIN, "logdir": str(tmp_path / "run"), "checkpoint_steps": 5, "resume": True})
    said = capsys.readouterr().out
    step = int(before.name.split("-")[0])
    assert f"{newest / 'weights.npz'}: damaged" in said and f"from step {step} to step 12" in said
    assert_same_run(run[0], tmp_path / "run")


def test_dry_run_does_one_of_everything_and_leaves_the_folder_usable(tmp_path):
    settings = {**TRAIN, "logdir": str(tmp_path)}
    result = train(MODEL, {**settings, "dry_run": True, "polyak": True})
    assert result.steps == 1 and result.test and result.samples.exists()
    assert glow_tf.load(result.model).config.channels == 1
    assert train(MODEL, {**settings, "steps": 1}).steps == 1


def test_starting_from_other_weights(run, tmp_path, undrawn):
    logdir, result = run
    for index, path in enumerate((logdir, logdir / "model", list_checkpoints(logdir / "checkpoints")[-1])):
        settings = {**TRAIN, "logdir": str(tmp_path / str(index)), "restore_path": str(path), "lr": 0.0}
        again = train(MODEL, {**settings, "steps": 1})
        assert again.test == result.test
    with pytest.raises(TrainError, match="restore_path"):
        train(MODEL, {**TRAIN, "logdir": str(tmp_path / "none"), "restore_path": str(tmp_path / "x")})


def test_a_loss_that_is_no_number_ends_the_run_and_saves_nothing(tmp_path):
    settings = {**TRAIN, "logdir": str(tmp_path), "lr": 1e30, "epochs_warmup": 0}
    with pytest.raises(TrainError, match="training diverged in epoch 1, step 2"):
        train(MODEL, settings)
    assert not list_checkpoints(tmp_path / "checkpoints")


@pytest.mark.parametrize("settings", [{"jit": "on"}, {"precision": "tf32"}])
def test_compiled_and_tf32_runs_are_the_same_on_a_cpu(run, tmp_path, settings, undrawn):
    with eagerly(False):
        train(MODEL, {**TRAIN, "logdir": str(tmp_path), "epochs": 1, "n_test": 1, **settings})
    losses = [
        float(json.loads((logdir / "train.txt").read_text().splitlines()[1])["loss"]) for logdir in (run[0], tmp_path)
    ]
    rounding = 1e-4  # both are written with four decimals
    assert abs(losses[0] - losses[1]) <= rounding + losses[0] * JIT["value"].allowed


def test_settings_of_xla_and_tf32_reach_the_model():
    config = glow_tf.TrainConfig.from_dict({"jit": "on", "precision": "tf32"})
    glow = make_model(glow_tf.GlowConfig(**{**MODEL, "channels": 1}), config)
    assert glow.jit is True and glow.precision == "tf32"
    assert make_model(glow.config, glow_tf.TrainConfig()).jit is False  # auto, without a GPU


def test_what_xla_cannot_do_is_said_before_any_work(tmp_path, monkeypatch, capsys):
    flags = ["--problem", "folder", "--image_dir", str(tmp_path), "--logdir", str(tmp_path / "run"), "--jit"]
    with pytest.raises(SystemExit):
        command.main([*flags, "fast"])
    assert "invalid choice: 'fast' (choose from" in capsys.readouterr().err
    monkeypatch.setattr(tf.test, "is_built_with_xla", lambda: False)
    assert command.main([*flags, "on"]) == 1
    error = "train.py: error: jit=True: this TensorFlow was built without XLA; use jit=False\n"
    assert capsys.readouterr().err == error and not (tmp_path / "run").exists()
