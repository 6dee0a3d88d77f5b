"""A way to call a model without tracing it: where it is called a few times, tracing is most of the work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def eagerly(eager: bool = True) -> Iterator[None]:
    """Traced functions run as plain Python; with False, inside such a block, as graphs again. Also a decorator."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(eager)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
