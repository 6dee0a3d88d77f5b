"""For the tests of training."""

from __future__ import annotations

import pytest

from glow_tf.training.evaluation import Evaluator


@pytest.fixture
def undrawn(monkeypatch):
    """Runs in this process draw no sample grids, which take a third of a short run's time."""
    monkeypatch.setattr(Evaluator, "draw", lambda self, epoch: None)
