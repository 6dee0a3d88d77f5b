"""The moments after OpenAI's 12-step runs; losses, weights and averages are in test_golden.py."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.storage.openai import from_openai
from glow_tf.training import Trainer
from tests.golden_cases import Case, names, relative_difference
from tests.tolerances import GOLDEN


@pytest.mark.parametrize("name", names("train"))
def test_moments_after_twelve_steps(name):
    case = Case(name)
    fields = ("optimizer", "beta1", "polyak_epochs", "train_its", "weight_decay")
    glow = case.load("start", memory="store")
    trainer = Trainer(glow, {key: case.settings[key] for key in fields})
    before = {key: np.array(variable) for key, variable in trainer.variables.items()}
    for index, batch in enumerate(zip(case["x"], case["y"], case["lr"], case["noise"], strict=True)):
        trainer.step(*batch)
        if index == 0:  # unless told otherwise the average starts from the weights (OpenAI's code: raw values)
            for key, value in before.items():
                np.testing.assert_array_equal(trainer.average[key], value)
    end = tf.train.load_checkpoint(str(case.folder / "end.ckpt"))
    for moment in ("m1", "m2"):
        slots = {p: end.get_tensor(case.settings["slots"][p][moment]) for p in case.settings["param_order"]}
        for ours, golden in from_openai(glow, slots).items():
            difference = relative_difference(trainer.optimizer.slots[f"{ours}/{moment}"], golden)
            assert difference <= GOLDEN["training slots"][0], f"{ours}/{moment}: {difference:.1e}"
    assert int(trainer.optimizer.step) == end.get_tensor("Variable") - 1
