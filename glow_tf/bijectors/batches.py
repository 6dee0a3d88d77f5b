"""Leading dimensions: TFP has any number of them, the layers and the model have one."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def with_one_batch_dimension(x: tf.Tensor, event_ndims: int) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """(x as [N, *event], the function that gives a result [N, ...] the leading dimensions of x).

    Raises:
      ValueError: x has fewer dimensions than its events, or an unknown number.
    """
    if x.shape.rank is None or x.shape.rank < event_ndims:
        raise ValueError(f"events have {event_ndims} dimensions; a tensor of shape {x.shape} does not hold any")
    leading = x.shape.rank - event_ndims
    if leading == 1:
        return x, lambda result: result
    shape = tf.shape(x)
    flat = tf.reshape(x, tf.concat([[tf.reduce_prod(shape[:leading])], shape[leading:]], 0))
    flat = tf.ensure_shape(flat, [None, *x.shape[leading:]])

    def restore(result: tf.Tensor) -> tf.Tensor:
        restored = tf.reshape(result, tf.concat([shape[:leading], tf.shape(result)[1:]], 0))
        return tf.ensure_shape(restored, [*x.shape[:leading], *result.shape[1:]])

    return flat, restore


def in_common(
    x: tf.Tensor, event_ndims: int, *conditions: tuple[tf.Tensor | None, int]
) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
    """x [..., *event] and what it is conditioned on, whose leading dimensions broadcast with its own.

    Args:
      x: events with so many dimensions.
      event_ndims: of x.
      *conditions: (a tensor, or None; its events' number of dimensions) each.

    Returns:
      x with the common leading dimensions, and every condition as [N, *its event], or None.
    """
    leading = tf.shape(x)[: x.shape.rank - event_ndims]
    for condition, ndims in conditions:
        if condition is not None:
            leading = tf.broadcast_dynamic_shape(leading, tf.shape(condition)[: condition.shape.rank - ndims])

    def broadcast(tensor: tf.Tensor, ndims: int) -> tf.Tensor:
        return tf.broadcast_to(tensor, tf.concat([leading, tf.shape(tensor)[tensor.shape.rank - ndims :]], 0))

    flat = [c if c is None else with_one_batch_dimension(broadcast(c, ndims), ndims)[0] for c, ndims in conditions]
    return broadcast(x, event_ndims), flat
