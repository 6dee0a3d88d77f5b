"""Functions that give their own gradient, and a way to trace them without it."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

_WANTED = contextvars.ContextVar("gradients wanted", default=True)


def custom_gradient(function: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
    """As tf.custom_gradient, of a function that returns (value, gradient function); see `without_gradients`."""
    with_gradient = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return with_gradient(*args) if _WANTED.get() else function(*args)[0]

    return call


@contextlib.contextmanager
def without_gradients() -> Iterator[None]:
    """What is traced inside has values only.

    A SavedModel keeps the gradients of such functions as graphs, which doubles it, or warns at each loading that it
    has not kept them. An export that is run and not trained needs neither.
    """
    token = _WANTED.set(False)
    try:
        yield
    finally:
        _WANTED.reset(token)
