"""The invertible 1x1 convolution, dense and LU-decomposed (paper, section 3.2)."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from glow_tf.layers.base import Weights
from glow_tf.layers.permutation import Mixing
from glow_tf.layers.tensors import per_example, per_pixel, pixels

# From this condition number on W is close to singular: float32 has 24 bits, so an inverse keeps about 4 of them.
SINGULAR = 1e6


def condition_number(matrix: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
    """|W| |W^-1| / C with Frobenius norms, float64 [...] for W [..., C, C]: 1 for a rotation.

    It is never above the usual condition number (largest over smallest singular value) and never less than that over C.
    Infinite where the inverse is NaN: the largest of several could pass over a NaN.
    """
    squares = [tf.reduce_sum(tf.square(tf.cast(m, tf.float64)), [-2, -1]) for m in (matrix, inverse)]
    condition = tf.sqrt(squares[0] * squares[1]) / matrix.shape[-1]
    return tf.where(tf.math.is_nan(condition), tf.constant(math.inf, tf.float64), condition)


def inverse_and_log_det(matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(W^-1 [..., C, C], log|det W| [...]) of float64 W [..., C, C], from one Cholesky factor of W W^T.

    Unlike an LU decomposition it runs on GPUs for a whole batch and can be compiled by XLA. The square costs digits: a
    relative error of about 1e-16 times the square of W's condition number, which a step of Newton's iteration takes
    out of the inverse. Both gradients need nothing but the inverse.

    Raises:
      InvalidArgumentError: W is singular (on CPUs, when it runs; on GPUs and under XLA the results are NaN).
    """
    factor = tf.linalg.cholesky(tf.matmul(matrix, matrix, transpose_b=True))
    identity = tf.eye(matrix.shape[-1], dtype=matrix.dtype)
    identities = tf.broadcast_to(identity, tf.shape(matrix))
    inverse = tf.matmul(matrix, tf.linalg.cholesky_solve(factor, identities), transpose_a=True)
    inverse = tf.matmul(inverse, 2.0 * identity - tf.matmul(matrix, inverse))
    log_det = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factor)), -1)

    # Each has a gradient of its own: of one for both, TensorFlow would compute what a zero gradient of the other gives.

    @tf.custom_gradient
    def with_gradient_of_inverse(matrix: tf.Tensor) -> tuple[tf.Tensor, Any]:
        del matrix

        def gradient(d_inverse: tf.Tensor) -> tf.Tensor:
            product = tf.matmul(tf.matmul(inverse, d_inverse, transpose_b=True), inverse)
            return -tf.linalg.matrix_transpose(product)

        return inverse, gradient

    @tf.custom_gradient
    def with_gradient_of_log_det(matrix: tf.Tensor) -> tuple[tf.Tensor, Any]:
        del matrix
        return log_det, lambda d: tf.linalg.matrix_transpose(inverse * d[..., tf.newaxis, tf.newaxis])

    return with_gradient_of_inverse(matrix), with_gradient_of_log_det(matrix)


class InvertibleConv1x1(Mixing):
    """A learned square matrix on every pixel's channels, started as a random rotation.

    Function: y[n, h, w] = x[n, h, w] W.
    Reverse: x[n, h, w] = y[n, h, w] W^-1.
    Log-determinant: H * W * log|det W|.

    x and y: [N, H, W, C]; W: [C, C], a pixel's channels are a row vector. Determinant and inverse are computed in
    float64 and rounded to the layer's dtype (OpenAI's code: the determinant only).

    Source: paper, section 3.2 and Table 1; `invertible_1x1_conv` in OpenAI's model.py.
    """

    def __init__(self, channels: int, **part: Any):
        super().__init__(channels, **part)
        self.add_weight("W", [channels, channels], _random_rotation)

    def forward_with(self, weights: Weights, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        matrix, _, log_det = self.matrices(weights)
        return per_pixel(x, matrix), per_example(x, pixels(x) * log_det)

    def inverse_with(self, weights: Weights, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        _, inverse, log_det = self.matrices(weights)
        return per_pixel(y, inverse), per_example(y, -pixels(y) * log_det)

    def matrices(self, weights: Weights) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        inverse, log_det = inverse_and_log_det(tf.cast(weights["W"], tf.float64))
        return weights["W"], tf.cast(inverse, self.dtype), tf.cast(log_det, self.dtype)


class InvertibleConv1x1LU(InvertibleConv1x1):
    """The invertible 1x1 convolution with W stored as its LU decomposition, whose determinant is a product.

    Function: y[n, h, w] = x[n, h, w] W, with W = P (tril(L, -1) + I) (triu(U, 1) + diag(sign_S * exp(log_S))).
    Reverse: x[n, h, w] = y[n, h, w] W^-1.
    Log-determinant: H * W * sum(log_S).

    x and y: [N, H, W, C]; P, L, U: [C, C]; sign_S, log_S: [C]. P and sign_S are fixed. The entries of L and U that the
    formula leaves out have no effect. W is put together in float64.

    Source: paper, section 3.2 (equations 10 and 11); the LU branch of `invertible_1x1_conv` in OpenAI's model.py.
    """

    def __init__(self, channels: int, **part: Any):
        super(InvertibleConv1x1, self).__init__(channels, **part)
        rotation: dict[str, tf.Tensor] = {}

        def draw(shape: list[int], seed: list[int], dtype: Any) -> tf.Tensor:
            rotation.update(_decomposed(_random_rotation(shape, seed, tf.float64)))
            return tf.cast(rotation["P"], dtype)

        self.add_weight("P", [channels, channels], draw, trainable=False)
        for name in ("L", "U", "log_S"):
            self.add_constant_weight(name, tf.cast(rotation[name], self.dtype), trainable=True)
        self.add_constant_weight("sign_S", tf.cast(rotation["sign_S"], self.dtype))

    def matrices(self, weights: Weights) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        exact = {name: tf.cast(weights[name], tf.float64) for name in ("P", "L", "U", "sign_S", "log_S")}
        ones = tf.ones(exact["log_S"].shape, tf.float64)
        lower = tf.linalg.set_diag(tf.linalg.band_part(exact["L"], -1, 0), ones)
        upper = tf.linalg.set_diag(tf.linalg.band_part(exact["U"], 0, -1), exact["sign_S"] * tf.exp(exact["log_S"]))
        matrix = exact["P"] @ lower @ upper
        inverse_of_upper = tf.linalg.triangular_solve(upper, tf.eye(self.channels, dtype=tf.float64), lower=False)
        # x P L U = y: the permutation's inverse is its transpose
        inverse = inverse_of_upper @ tf.linalg.triangular_solve(lower, tf.linalg.matrix_transpose(exact["P"]))
        return (
            tf.cast(matrix, self.dtype),
            tf.cast(inverse, self.dtype),
            tf.cast(tf.reduce_sum(exact["log_S"], -1), self.dtype),
        )


def _random_rotation(shape: list[int], seed: list[int], dtype: Any) -> tf.Tensor:
    q, _ = tf.linalg.qr(tf.random.stateless_normal(shape, seed, dtype=tf.float64))
    return tf.cast(q, dtype)


def _decomposed(matrix: tf.Tensor) -> dict[str, tf.Tensor]:
    """The pivoted LU decomposition of `matrix` [..., C, C] in the layer's terms."""
    packed, order = tf.linalg.lu(matrix)
    diagonal = tf.linalg.diag_part(packed)
    return {
        # row i of L U is row order[i] of the matrix, so P has a one at [order[i], i]
        "P": tf.linalg.matrix_transpose(tf.one_hot(order, matrix.shape[-1], dtype=matrix.dtype)),
        "L": tf.linalg.band_part(packed, -1, 0) - tf.linalg.diag(diagonal),
        "U": tf.linalg.band_part(packed, 0, -1) - tf.linalg.diag(diagonal),
        "sign_S": tf.sign(diagonal),
        "log_S": tf.math.log(tf.abs(diagonal)),
    }
