"""Contexts that are made of the images themselves: what `GlowConfig.context` names.

They are made of uint8 images, so a training step makes them of its batch, whatever the data set is, and a command of a
photograph. In numbers they are in [-1/2, 1/2], as continuous images are.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.config import GlowConfig

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what image programs mean by grayscale


def context_of(config: GlowConfig, images: tf.Tensor, dtype: Any) -> tf.Tensor:
    """The context [N, H, W, config.context_channels] of uint8 images [N, H, W, C].

      grayscale      the brightness, rounded to a whole number: 1 channel
      downsampled:N  the means of N x N blocks, rounded, each repeated N x N times: C channels
      left_half      the left half, the other one in middle gray, and a channel that is 1/2 where the image is given
                     and -1/2 elsewhere: C + 1 channels

    For a model whose config.context_from_image is true.
    """
    kind, n = config.context.partition(":")[0], config.context_factor
    height, width, channels = config.image_shape
    x = tf.cast(images, dtype)
    if kind == "grayscale":
        if channels == 3:
            x = tf.round(tf.reduce_sum(x * tf.constant(_LUMA, dtype), -1, keepdims=True))
        return _centred(tf.reduce_mean(x, -1, keepdims=True))
    if kind == "downsampled":
        blocks = tf.reshape(x, [-1, height // n, n, width // n, n, channels])
        means = tf.round(tf.reduce_mean(blocks, [2, 4]))
        return _centred(tf.repeat(tf.repeat(means, n, 1), n, 2))
    left = tf.sequence_mask([width // 2], width, dtype)[:, tf.newaxis, :, tf.newaxis]  # [1, 1, W, 1]
    given = tf.broadcast_to(left - 0.5, tf.concat([tf.shape(x)[:3], [1]], 0))
    return tf.concat([_centred(x) * left, given], -1)


def picture_of(config: GlowConfig, context: tf.Tensor) -> tf.Tensor:
    """The context of `context_of` as images for people, uint8 [N, H, W, C]."""
    shown = context[..., : config.channels]
    shown = tf.broadcast_to(shown, tf.concat([tf.shape(context)[:3], [config.channels]], 0))
    return tf.cast(tf.clip_by_value(tf.round((shown + 0.5) * 256.0 - 0.5), 0.0, 255.0), tf.uint8)


def _centred(x: tf.Tensor) -> tf.Tensor:
    """0 to 255 -> the middle of its bin of 256 in [-1/2, 1/2]."""
    return (x + 0.5) / 256.0 - 0.5
