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
    """The weights of step k from nested stacked weights [K, ...]; no number is copied."""
    begin, one = tf.reshape(k, [1]), tf.ones([1], tf.int32)
    end = begin + one
    return tf.nest.map_structure(lambda w: tf.strided_slice(w, begin, end, one, shrink_axis_mask=1), stacked)
