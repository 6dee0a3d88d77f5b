"""Runs that diverge, and what each policy of on_nan makes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

import data_loaders
import glow_tf
from glow_tf import runtime
from glow_tf.layers.invertible_conv import condition_number
from glow_tf.storage.checkpoints import list_checkpoints
from glow_tf.training import Trainer, TrainError, diagnosis, train
from glow_tf.training.checkpoints import CheckpointManager
from glow_tf.training.diagnosis import DivergedError
from glow_tf.training.state import TrainState
from tests.eagerly import eagerly
from tests.training.common import MODEL, TRAIN

X = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
Y = np.zeros(4, np.int32)


def trainer(**changes):
    glow = glow_tf.Glow({**MODEL, "channels": 1}, memory="store")
    with eagerly():
        glow.initialize(X, Y, np.zeros(X.shape, np.float32))
    return Trainer(glow, {"n_train": 4, "n_batch_train": 4, "epochs_warmup": 0, **changes})


def everything(t):
    kept = {**t.glow.named_variables(), **t.optimizer.slots}
    return {name: v.numpy() for name, v in [*kept.items(), *((f"{n}/a", v) for n, v in t.average.items())]}


def assert_untouched(t, before):
    for name, value in everything(t).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def skipping(request):
    """In the form that each device gets, traced here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "uses_gpu", lambda: request.param == "gpu")
        t = trainer(on_nan="skip")
        t.step(X, Y)
        yield t


def test_a_step_that_is_not_finite_changes_nothing(skipping):
    before = everything(skipping)
    noise = np.zeros(X.shape, np.float32)
    noise[1, 2, 3, 0] = np.nan
    assert skipping.step(X, Y, noise=noise)["step_ok"] == 0
    assert_untouched(skipping, before)
    assert skipping.step(X, Y)["step_ok"] == 1  # and the next one counts again
    assert any((value != before[name]).any() for name, value in everything(skipping).items())


@eagerly()
def test_stop_holds_the_weights_until_told_otherwise():
    stopping, fine = trainer(), np.zeros(X.shape, np.float32)
    assert stopping.step(X, Y, noise=fine)["condition"] == pytest.approx(1, abs=1e-4)  # rotations
    before = everything(stopping)
    noise = np.full(X.shape, np.inf, np.float32)
    with pytest.raises(DivergedError, match="the loss is"):
        stopping.step(X, Y, noise=noise)
    stopping.dispatch(X, Y, noise=fine)  # as the loop does before it has read the numbers
    assert_untouched(stopping, before)
    stopping.resume_at(stopping.state)
    assert stopping.step(X, Y, noise=fine)["step_ok"] == 1
    nearly_singular(stopping.glow.levels[0].step.permutation)
    before = everything(stopping)
    with pytest.raises(DivergedError, match="condition number of a 1x1 convolution"):
        stopping.step(X, Y, noise=fine)
    assert_untouched(stopping, before)


def nearly_singular(mixing):
    u, s, v = np.linalg.svd(mixing.W[1].numpy())
    s[-1] = 1e-8
    mixing.W[1].assign(u @ np.diag(s) @ v)


def test_the_condition_number_is_between_the_usual_one_and_that_over_c():
    for seed in range(5):
        matrix = np.random.default_rng(seed).normal(size=(12, 12))
        usual = np.linalg.cond(matrix)
        ours = float(condition_number(tf.constant(matrix), tf.constant(np.linalg.inv(matrix))))
        assert usual / 12 <= ours <= usual


@pytest.mark.parametrize(
    ("harm", "finding"),
    [
        ("weight", "weight level_0/coupling/net/l_2/W, step 1, is not finite"),
        ("actnorm", "level_0, step 1, actnorm: its output is not finite"),
        ("noise", "level_0, step 0, actnorm: its output is not finite"),
        ("prior", "prior: its output is not finite"),
        ("W", "level_0, step 1: the 1x1 convolution is close to singular"),
        ("log_S", "level_0, step 1: the 1x1 convolution is close to singular"),
        ("nothing", None),
    ],
)
def test_the_first_fault_is_named(harm, finding):
    glow = glow_tf.Glow({**MODEL, "channels": 1, "lu_decomposed": harm == "log_S"})
    variables = glow.named_variables()
    noise = np.zeros(X.shape, np.float32)
    if harm == "weight":
        variables["level_0/coupling/net/l_2/W"][1, 0].assign(tf.fill([8], np.nan))
    elif harm == "actnorm":
        variables["level_0/actnorm/logs"][1].assign(tf.fill([4], 100.0))
    elif harm == "noise":
        noise[0] = np.nan
    elif harm == "prior":
        variables["prior/p/b"].assign(tf.fill([8], -3e38))
    elif harm == "W":
        nearly_singular(glow.levels[0].step.permutation)
    elif harm == "log_S":
        variables["level_0/permutation/log_S"][1, 2].assign(-20.0)
    found = diagnosis.find_fault(glow, tf.constant(X), tf.constant(Y), tf.constant(noise))
    assert (found is None) == (finding is None)
    assert found is None or found.startswith(finding)


@pytest.mark.slow
@eagerly()
def test_clipping_scales_the_gradient():
    plain, clipped = (trainer(clip_grad_norm=c) for c in (0.0, 0.5))
    norms = [t.step(X, Y, lr=0.0)["grad_norm"] for t in (plain, clipped)]
    assert norms[0] == norms[1] > 0.5
    first = {name: slot for name, slot in clipped.optimizer.slots.items() if name.endswith("/m1")}
    norm = np.sqrt(sum(np.square(np.float64(slot)).sum() for slot in first.values())) / (1 - 0.9)
    assert norm == pytest.approx(0.5, rel=1e-5)
    for name, slot in first.items():
        np.testing.assert_allclose(slot, plain.optimizer.slots[name] * (0.5 / norms[0]), rtol=1e-5, atol=1e-12)


@eagerly()
def test_stop_saves_nothing_bad_and_says_where_and_what_to_try(tmp_path):
    settings = {**TRAIN, "logdir": str(tmp_path), "lr": 100.0, "epochs_warmup": 0, "checkpoint_steps": 1}
    with pytest.raises(TrainError, match=r"epoch 1, step 2: the loss is .*First fault: level_0, step \d.*--lr"):
        train(MODEL, settings)
    assert not list_checkpoints(tmp_path / "checkpoints")
    assert not (tmp_path / "model").exists() and not (tmp_path / "exit_code").exists()


@pytest.mark.slow
@eagerly()
def test_rollback_goes_back_more_slowly_until_it_works(tmp_path, capsys, undrawn):
    settings = {**TRAIN, "logdir": str(tmp_path), "lr": 30.0, "epochs_warmup": 0, "on_nan": "rollback"}
    settings |= {"epochs": 1, "epochs_full_valid": 1}
    assert train(MODEL, settings).steps == 4
    said = capsys.readouterr().out
    newest = list_checkpoints(tmp_path / "checkpoints")[-1]
    state = json.loads((newest / "state.json").read_text())
    assert state["rollbacks"] == said.count("Back to step 0") > 1
    assert f"with {0.5 ** state['rollbacks']:g} times the learning rate and fresh noise" in said
    for stem in ("weights", "optimizer", "average"):
        with np.load(newest / f"{stem}.npz") as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in arrays.files)
    assert [json.loads(line).get("epoch") for line in (tmp_path / "train.txt").read_text().splitlines()] == [None, 1]
    with pytest.raises(TrainError, match="on_nan is 'rollback' there, 'stop' here"):
        train(MODEL, {**settings, "on_nan": "stop", "resume": True})
    with pytest.raises(TrainError, match=r"clip_grad_norm is 0\.0 there, 1\.0 here"):
        train(MODEL, {**settings, "clip_grad_norm": 1.0, "resume": True})


@eagerly()
def test_a_checkpoint_that_diverged_twice_is_not_returned_to(tmp_path):
    t = trainer(on_nan="rollback")
    said: list[str] = []
    manager = CheckpointManager(t, tmp_path)
    for _ in range(3):
        manager.save()
        t.step(X, Y)
    steps = []
    for _ in range(4):
        manager.restore(said.append, diverged=True)
        steps.append(t.state.step)
    assert steps == [2, 1, 1, 1]  # 1 is the oldest that is kept
    assert (tmp_path / "diverged-000000002-3").is_dir()
    assert [c.name for c in list_checkpoints(tmp_path)] == ["000000001-2"]
    assert said == [f"checkpoint set aside: training diverged twice from {tmp_path / '000000002-3'}"]
    t.step(X, Y)
    manager.save()
    manager.restore(said.append, diverged=True)  # a new one of step 2 has not diverged yet
    assert t.state.step == 2 and len(said) == 1


@eagerly()
def test_the_only_undamaged_checkpoint_is_not_set_aside(tmp_path):
    t = trainer(on_nan="rollback")
    manager = CheckpointManager(t, tmp_path)
    for _ in range(2):
        manager.save()
        t.step(X, Y)
    oldest = list_checkpoints(tmp_path)[0]
    (oldest / "weights.npz").write_bytes(b"damaged")
    for _ in range(3):
        manager.restore(lambda warning: None, diverged=True)
        assert t.state.step == 1
    assert [c.name for c in list_checkpoints(tmp_path)][-1] == "000000001-2"


def test_fresh_noise_after_a_rollback(skipping):
    noises = []
    for rollbacks in (0, 1, 0):
        skipping.state = TrainState(rollbacks=rollbacks)
        skipping.dispatch(X, Y)
        noises.append(skipping.batch_of(0)[2].numpy())
    np.testing.assert_array_equal(noises[0], noises[2])
    assert (noises[0] != noises[1]).mean() > 0.99


class Poisoned:
    """A data set whose third batch is no numbers, as a decoder's fault would make it."""

    def __init__(self, data):
        self._data = data

    def __getattr__(self, name):
        return getattr(self._data, name)

    def train_batches(self, *args, start=0, **kwargs):
        def harm(index, batch):
            x, y = batch
            return tf.where(index == 2, np.nan, tf.cast(x, tf.float32)), y

        batches = self._data.train_batches(*args, start=start, **kwargs)
        return batches.enumerate(start).map(harm)


@eagerly()
def test_skip_leaves_the_bad_batch_out_and_goes_on(tmp_path, capsys, undrawn):
    settings = {**TRAIN, "logdir": str(tmp_path), "on_nan": "skip", "checkpoint_steps": 1, "epochs": 2}
    result = train(MODEL, settings, Poisoned(data_loaders.load("digits", n_test=70)))
    assert "step 3 skipped: the loss is nan" in capsys.readouterr().out
    newest = list_checkpoints(tmp_path / "checkpoints")[-1]
    state = json.loads((newest / "state.json").read_text())
    assert (state["step"], state["skipped"], state["skipped_in_a_row"]) == (8, 1, 0)
    with np.load(newest / "optimizer.npz") as slots:
        assert slots["step"] == 7
    lines = [json.loads(line) for line in (tmp_path / "train.txt").read_text().splitlines()[1:]]
    assert [line.get("skipped") for line in lines] == [1, None]
    assert all(np.isfinite(float(line["loss"])) for line in lines)
    assert result.test and np.isfinite(result.test["loss"])
