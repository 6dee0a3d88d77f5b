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
