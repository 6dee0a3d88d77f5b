"""Runs whose memory is chosen: recorded, kept on resuming, watched, and refused beforehand."""

from __future__ import annotations

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.commands import train as command
from glow_tf.flow.budget import Demand
from glow_tf.flow.memory import MEMORY, as_memory
from glow_tf.flow.room import Room
from glow_tf.training import Trainer, TrainError, setup, train
from glow_tf.training import step as step_module
from glow_tf.training import workers as distributed
from glow_tf.training.diagnosis import DivergedError
from tests.eagerly import eagerly
from tests.near import assert_near
from tests.tolerances import RANKS
from tests.training.common import MODEL, TRAIN, assert_same_run, final_arrays, flags
from tests.training.test_divergence import X, Y

MIXED = "none:1,h+hidden_2:1"

pytestmark = pytest.mark.usefixtures("undrawn", "untraced_module")


def recorded(logdir):
    return json.loads((logdir / "config.json").read_text())["memory"]


def rooms(monkeypatch, *free):
    """The next calls of device_room say that so much is free."""
    left = [Room(2**36, int(f), 0, "this machine") for f in free]
    monkeypatch.setattr(setup, "device_room", lambda: left.pop(0))


@pytest.fixture(scope="module")
def auto(tmp_path_factory):
    """A run that is stopped at its third step, and what it said."""
    logdir, said = tmp_path_factory.mktemp("runs") / "auto", io.StringIO()
    with contextlib.redirect_stdout(said):
        train(MODEL, {**TRAIN, "logdir": str(logdir), "epochs": 2, "steps": 3})
    return logdir, said.getvalue()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A run with memory store."""
    logdir = tmp_path_factory.mktemp("runs") / "store"
    train(MODEL, {**TRAIN, "logdir": str(logdir), "memory": "store", "epochs": 2})
    return logdir


def test_auto_is_the_default_and_store_where_it_fits(auto):
    logdir, said = auto
    assert recorded(logdir) == "store"
    assert said.startswith("memory: store; about ") and "is left to others" in said.splitlines()[0]
    assert ", memory store\n" in said


@pytest.mark.parametrize("memory", [MIXED, "reversible"])
def test_any_memory_takes_the_same_steps(memory, store, tmp_path):
    train(MODEL, {**TRAIN, "logdir": str(tmp_path), "memory": memory, "epochs": 2})
    assert recorded(tmp_path) == memory and recorded(store) == "store"
    ours, wanted = final_arrays(tmp_path), final_arrays(store)
    for name, array in wanted.items():
        if np.any(array):
            assert_near(name, ours[name], array, RANKS["whole run"], floor=0)


def test_a_resumed_run_keeps_its_choice(tmp_path, monkeypatch, capsys):
    """What another machine, or an hour, would have chosen makes no difference, to the bit."""
    settings = {**TRAIN, "memory": "auto", "epochs": 2, "n_batch_init": 4, "n_batch_test": 4}
    least, most = (peak(name) for name in ("reversible", "store"))
    between = (least + most) / 2 / 0.9
    rooms(monkeypatch, between, between, 2**36)
    train(MODEL, {**settings, "logdir": str(tmp_path / "whole")})
    chosen = recorded(tmp_path / "whole")
    assert ":" in chosen
    train(MODEL, {**settings, "logdir": str(tmp_path / "parts"), "steps": 3})
    train(MODEL, {**settings, "logdir": str(tmp_path / "parts"), "resume": True})
    assert recorded(tmp_path / "parts") == chosen
    assert ", as when the run began\n" in capsys.readouterr().out
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def peak(name):
    config = glow_tf.GlowConfig(**MODEL, channels=1)
    return Demand(config, 16, initial_batch=4, test_batch=4, whole_run=True).peak(name)


def test_memory_given_anew_is_chosen_anew(store, tmp_path):
    shutil.copytree(store, tmp_path / "run")
    settings = {**TRAIN, "logdir": str(tmp_path / "run"), "epochs": 3, "steps": 9}
    assert train(MODEL, {**settings, "memory": "reversible", "resume": True}).steps == 9
    assert recorded(tmp_path / "run") == "reversible"


def test_runs_of_earlier_versions_stay_reversible(auto, tmp_path):
    shutil.copytree(auto[0], tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    (tmp_path / "run/config.json").write_text(json.dumps({**config, "memory": "reversible"}))  # with "train" as it was
    settings = {**TRAIN, "logdir": str(tmp_path / "run"), "epochs": 2, "steps": 4}
    assert train(MODEL, {**settings, "resume": True}).steps == 4
    assert recorded(tmp_path / "run") == "reversible"


def test_a_model_that_cannot_fit_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    rooms(monkeypatch, 2**26, 2**26)
    assert command.main(flags(tmp_path / "run")) == 1
    said = capsys.readouterr().err
    assert said.startswith("train.py: error: a training step of 16 image(s) needs at least") and said.count("\n") == 1
    assert "more than the 64 MiB that this process can have of this machine" in said and "What helps: " in said
    assert not (tmp_path / "run/config.json").exists()
    rooms(monkeypatch, 2**36)
    assert command.main(flags(tmp_path / "run", memory="1MiB")) == 1
    assert "memory is 1MiB: a training step of 16 image(s) needs at least" in capsys.readouterr().err


def test_more_than_there_is_warns(tmp_path, capsys):
    assert command.main(flags(tmp_path, memory="900TB", steps=1)) == 0
    assert "warning: memory is 900TB, more than the " in capsys.readouterr().out


def test_running_out_of_memory_is_one_line(tmp_path, monkeypatch, capsys):
    def exhausted(*args, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9]\nand more")

    monkeypatch.setattr(step_module.TrainStep, "_run", exhausted)
    assert command.main(flags(tmp_path)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(
        "train.py: error: out of memory with 16 image(s) a step and --memory"
    )
    assert "(OOM when allocating tensor with shape[9])" in said and "--n_batch_train" in said


def test_workers_take_what_the_poorest_can_have(monkeypatch):
    class Two(distributed.Workers):
        size = 2

        def sum(self, tensor, name):
            return tensor + tf.constant([[0.0, 0, 0], [2.0**36, 2.0**31, 2.0**29]], tf.float64)

    rooms(monkeypatch, 2**33)
    assert setup.least_room(Two())[:3] == (2**36, 2**31, 2**29)


def trainer(memory, **changes):
    glow = glow_tf.Glow({**MODEL, "depth": 8, "n_levels": 2, "channels": 1}, memory=memory)
    glow.initialize(X, Y, np.zeros(X.shape, np.float32))
    return Trainer(glow, {"n_train": 4, "n_batch_train": 4, "epochs_warmup": 0, **changes})


def test_how_well_inputs_are_recovered_is_a_result():
    errors = {memory: trainer(memory).step(X, Y)["recovery_error"] for memory in MEMORY}
    with eagerly(False):  # traced, as users have it
        errors["mixed"] = trainer(as_memory("none:3,h:5/all:8")).step(X, Y)["recovery_error"]
    assert errors.pop("store") == errors.pop("checkpoint") == 0
    for error in errors.values():  # 8 steps of some 20 roundings, condition numbers near 1
        assert 0 < error < 8 * 20 * 2.0**-24, errors


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_an_input_that_is_lost_fails_the_step(on_nan, monkeypatch):
    monkeypatch.setattr(step_module, "UNRECOVERED", 1e-12)
    monkeypatch.setattr("glow_tf.training.diagnosis.UNRECOVERED", 1e-12)
    losing = trainer("reversible", on_nan=on_nan)
    before = {name: variable.numpy() for name, variable in losing.glow.named_variables().items()}
    if on_nan == "stop":
        message = r"a level's input was recovered with a relative error of .*e-0., where"
        with pytest.raises(DivergedError, match=message):
            losing.step(X, Y)
        return
    with eagerly(False):  # where the step itself must leave the weights alone
        assert losing.step(X, Y)["step_ok"] == 0
    for name, variable in losing.glow.named_variables().items():
        np.testing.assert_array_equal(variable.numpy(), before[name])


def test_an_input_that_another_worker_lost_fails_the_step_too(monkeypatch):
    """The worst counts, however many others there are: a mean would hide it."""
    monkeypatch.setattr(distributed.Workers, "largest", lambda self, tensor, name: tf.maximum(tensor, 0.5))
    with pytest.raises(DivergedError, match=r"relative error of 0\.5, where"):
        trainer("reversible").step(X, Y)


def test_a_run_that_loses_inputs_ends_with_advice(tmp_path, monkeypatch):
    monkeypatch.setattr(step_module, "UNRECOVERED", 1e-12)
    monkeypatch.setattr("glow_tf.training.diagnosis.UNRECOVERED", 1e-12)
    with pytest.raises(TrainError, match="--memory checkpoint or store keeps inputs"):
        train(MODEL, {**TRAIN, "logdir": str(tmp_path), "memory": "reversible"})
