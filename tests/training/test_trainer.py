"""One step: schedule, average, noise, and settings."""

from __future__ import annotations

import numpy as np
import pytest

import glow_tf
from glow_tf.config import ConfigError, GlowConfig
from glow_tf.training import TrainConfig, Trainer
from tests.eagerly import eagerly
from tests.training.common import MODEL

CONFIG = glow_tf.GlowConfig(**MODEL, channels=1)
X = np.random.default_rng(0).integers(0, 256, [4, 8, 8, 1]).astype(np.uint8)
Y = np.zeros(4, np.int32)


def trainer_of(**settings):
    glow = glow_tf.Glow(CONFIG, seed=3)
    with eagerly():
        glow.initialize(X, noise=glow.draw_noise(X.shape, [0, 0]))
    settings = {"n_train": 8, "n_batch_train": 4, "epochs_warmup": 2, "anchor_size": 8} | settings
    return Trainer(glow, settings)


def weights(trainer):
    return {name: np.array(v) for name, v in trainer.variables.items()}


@eagerly()
def test_schedule_and_average():
    trainer = trainer_of()
    assert trainer.train_its == 2
    assert [trainer.config.lr_at(n) for n in (0, 4, 8, 16, 99)] == [0, 0.00025, 0.0005, 0.001, 0.001]
    start = weights(trainer)
    first = trainer.step(X, Y)
    assert set(first) >= {"loss", "bits_x", "bits_y", "pred_error", "grad_norm"}
    assert trainer.latest()["grad_norm"] == first["grad_norm"] > 0
    for name, value in weights(trainer).items():
        np.testing.assert_array_equal(value, start[name])  # the first step has lr 0
    trainer.step(X, Y)
    before = weights(trainer)
    assert any((before[name] != start[name]).any() for name in start)
    for name in start:  # the average reads the weights before the update
        np.testing.assert_array_equal(trainer.average[name], start[name])
    trainer.step(X, Y)
    for name in start:  # decay is 1 - 1/2
        np.testing.assert_allclose(trainer.average[name], (start[name] + before[name]) / 2, atol=1e-6)
    assert (trainer.state.step, trainer.state.n_processed, trainer.state.n_images) == (3, 12, 12)


@eagerly()
def test_noise_depends_on_seed_and_step_alone():
    losses = [[trainer.step(X, Y, lr=0.0)["loss"] for _ in range(2)] for trainer in (trainer_of(), trainer_of())]
    assert losses[0] == losses[1] and losses[0][0] != losses[0][1]
    assert trainer_of(seed=1).step(X, Y, lr=0.0)["loss"] != losses[0][0]


@eagerly()
def test_averaged_exchanges_and_restores():
    trainer = trainer_of()
    trainer.step(X, Y, lr=0.1)
    mine, mean = weights(trainer), {name: np.array(v) for name, v in trainer.average.items()}
    with pytest.raises(KeyError), trainer.averaged():
        for name, value in weights(trainer).items():
            np.testing.assert_array_equal(value, mean[name])
        with pytest.raises(RuntimeError, match="averaged"):
            trainer.step(X, Y)
        raise KeyError
    for name, value in weights(trainer).items():
        np.testing.assert_array_equal(value, mine[name])
    with trainer.averaged(use=False):
        np.testing.assert_array_equal(weights(trainer)[name], mine[name])


@eagerly()
def test_average_starts_after_a_later_initialisation():
    glow = glow_tf.Glow(CONFIG)
    trainer = Trainer(glow, {"train_its": 5})
    glow.initialize(X)
    start = weights(trainer)
    trainer.step(X, Y, lr=0.1)
    for name, value in start.items():
        np.testing.assert_array_equal(trainer.average[name], value)


def test_settings_are_checked_and_go_through_json():
    config = TrainConfig(lr=0.5, memory="store")
    assert TrainConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="unknown training settings: lrr"):
        TrainConfig.from_dict({"lrr": 1})
    for wrong in ({"lr": "x"}, {"lr": float("nan")}, {"epochs": 1.5}, {"verbose": 1}, {"memory": "all"}, {"seed": -1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            TrainConfig(**wrong)
    assert TrainConfig().local_batch(64, GlowConfig(64)) == 16
    assert TrainConfig().local_batch(64, GlowConfig(1024)) == 1
    assert TrainConfig().steps_per_epoch(8) == 98
    with pytest.raises(ValueError, match="polyak_epochs"):
        trainer_of(polyak_epochs=0.1)
