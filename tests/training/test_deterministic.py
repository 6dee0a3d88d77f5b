"""--deterministic: a run in every memory mode, and by XLA, with nothing in it that TensorFlow then refuses."""

from __future__ import annotations

import pytest
from tensorflow.python.framework.config import disable_op_determinism, is_op_determinism_enabled

from glow_tf.flow.memory import MEMORY
from glow_tf.training import train
from tests.training.common import MODEL, TRAIN, assert_same_run


@pytest.fixture
def undone():
    """The switch is one of the process."""
    yield
    disable_op_determinism()


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "jit"), [*((memory, "off") for memory in MEMORY), ("reversible", "on")])
def test_nothing_is_refused(tmp_path, undone, memory, jit):
    settings = {**TRAIN, "deterministic": True, "memory": memory, "jit": jit, "epochs": 1, "epochs_full_valid": 1}
    assert train(MODEL, {**settings, "logdir": str(tmp_path / "one")}).steps == 4
    assert is_op_determinism_enabled()
    if jit == "on":
        train(MODEL, {**settings, "logdir": str(tmp_path / "other")})
        assert_same_run(tmp_path / "one", tmp_path / "other")
