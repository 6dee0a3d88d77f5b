"""For all tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


def pytest_collection_finish() -> None:
    """Two savings of some percent each, in the processes that run tests."""
    import hypothesis  # noqa: F401  # comes at the end at the latest, and misses referrers that are frozen
    from tensorflow.python.util import tf_stack

    # What the tests import stays to the end: looking for garbage in it takes 0.3 s at every full collection.
    gc.collect()
    gc.freeze()
    # TensorFlow notes with every operation of a graph the Python stack that made it, and pytest's is deep.
    stack = tf_stack.extract_stack()
    tf_stack.extract_stack = lambda stacklevel=1: stack


@pytest.fixture
def undrawn(monkeypatch):
    """Runs in this process draw no sample grids, which take a third of a short run's time."""
    monkeypatch.setattr("glow_tf.training.evaluation.Evaluator.draw", lambda self, epoch: None)


@pytest.fixture(scope="module")
def untraced_module() -> Iterator[None]:
    """For runs of a few steps, whose files are the subject: tracing is most of their time. Real processes trace."""
    from tests.eagerly import eagerly  # here, as the process that starts the others needs no TensorFlow

    with eagerly():
        yield
