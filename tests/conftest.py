"""For all tests."""

from __future__ import annotations

import gc

import pytest


def pytest_collection_finish() -> None:
    """What the tests import stays to the end: looking for garbage in it takes 0.3 s at every full collection."""
    import hypothesis  # noqa: F401  # comes at the end at the latest, and misses referrers that are frozen

    gc.collect()
    gc.freeze()


@pytest.fixture
def undrawn(monkeypatch):
    """Runs in this process draw no sample grids, which take a third of a short run's time."""
    monkeypatch.setattr("glow_tf.training.evaluation.Evaluator.draw", lambda self, epoch: None)
