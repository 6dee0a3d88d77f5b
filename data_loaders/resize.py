"""Area downsampling by whole factors, and the way back to uint8."""

from __future__ import annotations

import tensorflow as tf

from data_loaders.errors import DataError

# Interpolation in float32 makes 254.99998 of a flat 255. Rounding down would darken it; this is far
# above such errors and far below a grey level.
_ROUNDING_SLACK = 2.0**-10


def check_downsampling(problem: str, native: tuple[int, int], wanted: tuple[int, int] | None) -> tuple[int, int]:
    """The size that images will have.

    Args:
      problem: for the message.
      native: (H, W) of the stored images.
      wanted: (H, W) asked for, or None for the native size.

    Raises:
      DataError: `wanted` is no whole fraction of `native`.
    """
    if wanted is None:
        return native
    if any(n % w for n, w in zip(native, wanted, strict=True)):
        sides = [s for s in range(1, min(native) + 1) if native[0] % s == 0 and native[1] % s == 0]
        raise DataError(
            f"Problem {problem!r} has images of {native[0]}x{native[1]}; they can be averaged down "
            f"by whole factors, to image_size {', '.join(map(str, sides))}, but not made "
            f"{wanted[0]}x{wanted[1]}."
        )
    return wanted


def downsample(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Averages blocks of pixels: [N, H, W, C] -> float32 [N, h, w, C]; h divides H, w divides W."""
    height, width, channels = images.shape[1:]
    images = tf.cast(images, tf.float32)
    if (height, width) == size:
        return images
    blocks = [-1, size[0], height // size[0], size[1], width // size[1], channels]
    return tf.reduce_mean(tf.reshape(images, blocks), axis=[2, 4])


def to_uint8(images: tf.Tensor) -> tf.Tensor:
    """Rounds float images in [0, 255] down, as OpenAI's code does; uint8 ones stay as they are."""
    if images.dtype == tf.uint8:
        return images
    return tf.cast(tf.clip_by_value(tf.floor(images + _ROUNDING_SLACK), 0.0, 255.0), tf.uint8)
