"""What layers do with tensors of images [N, H, W, C]."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.layers.products import product


def per_example(x: tf.Tensor, value: tf.Tensor | float) -> tf.Tensor:
    """`value` once for every example of x: shape [N]."""
    batch = tf.shape(x)[:1] if x.shape[0] is None else x.shape[:1]
    return tf.fill(batch, tf.cast(value, x.dtype))


def pixels(x: tf.Tensor) -> tf.Tensor:
    """H * W of x as a scalar of x's dtype."""
    _, height, width, _ = shape_of(x)
    return tf.cast(height * width, x.dtype)


def per_pixel(x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Every pixel's channels times `matrix` [C, C']: [N, H, W, C] -> [N, H, W, C']."""
    return as_image(product(tf.reshape(x, [-1, x.shape[-1]]), matrix), x)


def shape_of(x: tf.Tensor) -> list[Any]:
    """The sizes of x: numbers where they are known while tracing, which makes graphs smaller, and tensors elsewhere."""
    if x.shape.is_fully_defined():
        return x.shape.as_list()
    sizes = tf.shape(x)
    return [sizes[i] if size is None else size for i, size in enumerate(x.shape)]


def reshape(x: tf.Tensor, sizes: list[Any]) -> tf.Tensor:
    """x with these sizes, as `shape_of` gives them; a single one that is not known yet is left to TensorFlow."""
    unknown = sum(not isinstance(size, int) for size in sizes)
    return tf.reshape(x, [size if isinstance(size, int) or unknown > 1 else -1 for size in sizes])


def as_image(rows: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """[N H W, C] -> [N, H, W, C] with the N, H, W of `like`."""
    return reshape(rows, [*shape_of(like)[:-1], rows.shape[-1]])


def slice_step(stacked: Any, k: Any) -> Any:
    """The weights of step k from nested stacked weights [K, ...].

    A gather: one node for every tensor, which XLA makes a slice. (A strided slice that begins at a place which is known
    only when it runs has XLA pad the whole stack to twice every side.)
    """
    return tf.nest.map_structure(lambda w: tf.gather(w, k), stacked)
