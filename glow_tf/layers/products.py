"""Matrix products, and which of them may be rounded to TF32.

From Ampere on, TensorFlow by default rounds the operands of float32 products on GPUs to TF32, which has 11 significant
bits where float32 has 24. Here a float32 product keeps all of its bits, whatever TensorFlow's switch says, unless its
`arithmetic` says otherwise:

  exact     whatever has to be undone: the affine map per pixel of a step, priors of splits and of the top; the weights
            when they are folded; the coupling networks where latents are made or undone, and with precision="float32"
  network   the coupling networks in likelihoods and training with precision="tf32" or "bfloat16", and their gradients

Where TensorFlow uses TF32, an exact product is made of four: each operand is the sum of two numbers of 11 significant
bits, which TF32 leaves alone (the second of the two up to the last bit of float32). Elsewhere, so on CPUs, it is
`tf.matmul`. Which it is, is looked up when a function is traced.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

_TF32_SINCE = (8, 0)  # compute capability of Ampere
_SPLITTER = 2.0**13 + 1  # 24 bits are split into 11 and the rest (Dekker, Numerische Mathematik 18, 1971)
_JOINED = 128  # up to this inner dimension the four products are one of four times the inner dimension


class Arithmetic(NamedTuple):
    """How a coupling network's products are computed: in which type, and whether float32 may become TF32."""

    dtype: tf.DType
    tf32: bool = False

    @staticmethod
    def of(value: Any) -> Arithmetic:
        """An Arithmetic, "tf32", or the name of a dtype, or a dtype."""
        if isinstance(value, Arithmetic):
            return value
        return Arithmetic(tf.float32, tf32=True) if value == "tf32" else Arithmetic(tf.as_dtype(value))


def product(
    a: tf.Tensor, b: tf.Tensor, *, transpose_a: bool = False, transpose_b: bool = False, tf32: bool = False
) -> tf.Tensor:
    """The matrix product a b, [..., I, K]; the dimensions in front may be missing on one side.

    Args:
      a: [..., I, J], or [..., J, I] with transpose_a.
      b: of the same type, [..., J, K], or [..., K, J] with transpose_b.
      transpose_a: whether a is given transposed.
      transpose_b: whether b is given transposed.
      tf32: whether the operands may be rounded to TF32.
    """
    if tf32 or a.dtype != tf.float32 or not tf32_in_use():
        return device_product(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    a = tf.linalg.matrix_transpose(a) if transpose_a else a
    b = tf.linalg.matrix_transpose(b) if transpose_b else b
    return _exact_product(a, b)


def tf32_in_use() -> bool:
    """Whether TensorFlow rounds the operands of float32 products on a GPU that this process uses."""
    if not tf.config.experimental.tensor_float_32_execution_enabled():
        return False
    capability = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", _TF32_SINCE)
        for gpu in tf.config.get_visible_devices("GPU")
    ]
    return any(tuple(version) >= _TF32_SINCE for version in capability)


def device_product(a: tf.Tensor, b: tf.Tensor, *, transpose_a: bool = False, transpose_b: bool = False) -> tf.Tensor:
    """a b as the device computes it: every product of the model comes by here."""
    return tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)


@tf.custom_gradient
def _exact_product(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, Any]:
    (high_a, low_a), (high_b, low_b) = _split(a), _split(b)
    if a.shape[-1] is not None and a.shape[-1] <= _JOINED:
        left = tf.concat([low_a, low_a, high_a, high_a], -1)
        result = device_product(left, tf.concat([low_b, high_b, low_b, high_b], -2))
    else:
        result = device_product(low_a, low_b)
        result += device_product(low_a, high_b) + device_product(high_a, low_b)
        result += device_product(high_a, high_b)

    def gradient(d: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return (
            _without_stack(product(d, b, transpose_b=True), a),
            _without_stack(product(a, d, transpose_a=True), b),
        )

    return result, gradient


def _split(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """x as a sum of two numbers; the first has 11 significant bits."""
    scaled = x * _SPLITTER
    high = scaled - (scaled - x)
    return high, x - high


def _without_stack(gradient: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """The gradient of an operand that was used for a whole stack."""
    return tf.reduce_sum(gradient, list(range(gradient.shape.rank - like.shape.rank)))
