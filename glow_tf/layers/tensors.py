"""What layers do with tensors of images [N, H, W, C]."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.layers.products import product


def per_example(x: tf.Tensor, value: tf.Tensor | float) -> tf.Tensor:
    """`value` once for every example of x: shape [N]."""
    return tf.fill(shape_of(x)[:1], tf.cast(value, x.dtype))


def pixels(x: tf.Tensor) -> tf.Tensor:
    """H * W of x as a scalar of x's dtype."""
    _, height, width, _ = shape_of(x)
    return tf.cast(height * width, x.dtype)


def per_pixel(x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Every pixel's channels times `matrix` [C, C']: [N, H, W, C] -> [N, H, W, C']."""
    y = product(tf.reshape(x, [-1, x.shape[-1]]), matrix)
    return tf.reshape(y, [*shape_of(x)[:-1], matrix.shape[-1]])


def shape_of(x: tf.Tensor) -> list[Any]:
    """The sizes of x: numbers where they are known while tracing, which makes graphs smaller, and tensors elsewhere."""
    if x.shape.is_fully_defined():
        return x.shape.as_list()
    sizes = tf.shape(x)
    return [sizes[i] if size is None else size for i, size in enumerate(x.shape)]


def slice_step(stacked: Any, k: Any) -> Any:
    """The weights of step k from nested stacked weights [K, ...]; no number is copied.

    A strided slice would be shorter, but XLA pads the whole tensor to twice every side for one that begins at a place
    which is known only when it runs: the stacks that `store` keeps then take five times their size.
    """

    def of(w: tf.Tensor) -> tf.Tensor:
        sizes = shape_of(w)[1:]
        return tf.reshape(tf.slice(w, tf.stack([k, *[0] * len(sizes)]), [1, *sizes]), sizes)

    return tf.nest.map_structure(of, stacked)
