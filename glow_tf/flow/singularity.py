"""How near the 1x1 convolutions are to singular, as a by-product of a forward pass.

A level computes W and its inverse anyway; two sums of squares give a condition number from them. So a training step
can look at every convolution, at every step, for nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import tensorflow as tf

# From here on W is close to singular: float32 has 24 bits, so an inverse keeps about 4 of them.
LIMIT = 1e6

_watching: ContextVar[list[tf.Tensor] | None] = ContextVar("_watching", default=None)


@contextlib.contextmanager
def watched() -> Iterator[list[tf.Tensor]]:
    """Within this context every level that is applied adds the condition numbers [K] of its 1x1 convolutions."""
    found: list[tf.Tensor] = []
    token = _watching.set(found)
    try:
        yield found
    finally:
        _watching.reset(token)


def watch(matrix: tf.Tensor, inverse: tf.Tensor) -> None:
    """Called by a level with W and W^-1, [K, C, C] each; without a `watched` around, it does nothing."""
    found = _watching.get()
    if found is not None:
        found.append(condition(matrix, inverse))


def condition(matrix: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
    """|W| |W^-1| / C with Frobenius norms, [...] for W [..., C, C]: 1 for a rotation.

    It is never above the usual condition number (largest over smallest singular value) and never less than that over C.
    """
    squares = [tf.reduce_sum(tf.square(tf.cast(m, tf.float64)), [-2, -1]) for m in (matrix, inverse)]
    return tf.sqrt(squares[0] * squares[1]) / matrix.shape[-1]
