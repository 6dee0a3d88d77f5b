"""TF32 on a CPU: float32 products whose operands are rounded as a GPU rounds them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tensorflow as tf

from glow_tf.layers import products

SCOPE = "emulated_tf32"  # in the names of the operations that compute the products


def rounded(x: tf.Tensor) -> tf.Tensor:
    """x with 11 significant bits, ties away from zero; differentiated as if it were x."""
    bits = tf.bitcast(tf.stop_gradient(x), tf.int32)
    nearest = tf.bitcast(tf.bitwise.bitwise_and(bits + 0x1000, ~0x1FFF), tf.float32)
    return x + tf.stop_gradient(nearest - x)


@contextlib.contextmanager
def emulated(*, split: bool = True, which: Callable[[int], bool] = lambda i: True) -> Iterator[list[int]]:
    """Within this context the device rounds the operands of float32 products.

    Args:
      split: whether products.py knows that, and splits what must be exact.
      which: whether the i-th product is rounded.

    Yields:
      [the number of products so far]
    """
    count = [0]
    plain = products.device_product

    def device_product(a: tf.Tensor, b: tf.Tensor, **transposed: Any) -> tf.Tensor:
        with tf.name_scope(SCOPE):
            if a.dtype == tf.float32 and which(count[0]):
                a, b = rounded(a), rounded(b)
            count[0] += 1
            return plain(a, b, **transposed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "device_product", device_product)
        patch.setattr(products, "tf32_in_use", lambda: split)
        yield count


@pytest.fixture(autouse=True)
def tf32_off() -> Iterator[None]:
    """For modules that import it: on GPUs that have TF32, TensorFlow's switch is on by default, and splits products."""
    config = tf.config.experimental
    switch = config.tensor_float_32_execution_enabled()
    config.enable_tensor_float_32_execution(False)
    yield
    config.enable_tensor_float_32_execution(switch)
