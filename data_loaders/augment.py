"""Random affine maps of whole batches, stateless, with the meaning of Keras' ImageDataGenerator.

A point (row, column) of the result, taken from the image's centre, is looked up in the image at

    rotation(theta) @ shift(t_row, t_col) @ shear(s) @ zoom(z_row, z_col) @ (row, column)

with bilinear interpolation; outside, the nearest edge pixel counts. A horizontal flip comes last.
The parameters are
uniform: theta in +-rotation, t in +-shift times the side, s in +-shear, z in 1 +- zoom, and the
flip is a fair coin.

Source: the behaviour of Keras 2.2's ImageDataGenerator, which OpenAI's code uses.
Deviation: the centre of rotation, shear and zoom is the image's centre (H - 1) / 2; Keras 2.2 takes
(H + 1) / 2, one pixel further, which was corrected in later releases. Shifts are the same in both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Augmentation:
    """How far images are moved at random.

    Attributes:
      shift: largest shift, as a fraction of the side.
      rotation: largest rotation in degrees.
      zoom: largest change of scale; rows and columns are scaled independently.
      shear: largest shear in degrees.
      flip: whether half of the images are mirrored left to right.
    """

    shift: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0
    flip: bool = False

    @property
    def is_affine(self) -> bool:
        """Whether pixels are interpolated (a flip alone keeps them)."""
        return any((self.shift, self.rotation, self.zoom, self.shear))

    def __bool__(self) -> bool:
        return self.is_affine or self.flip


NO_AUGMENTATION = Augmentation()
SHIFTS = Augmentation(shift=0.1)
EXTRA = Augmentation(shift=0.1, rotation=15.0, zoom=0.1, shear=0.02, flip=True)
FLIPS = Augmentation(flip=True)


def augment(images: tf.Tensor, uniforms: tf.Tensor, how: Augmentation) -> tf.Tensor:
    """Moves every image of a batch by its own random parameters.

    Args:
      images: [N, H, W, C], uint8 or float32.
      uniforms: float32 [N, 8] in [0, 1), the random numbers of each image.
      how: the ranges.

    Returns:
      [N, H, W, C]: float32 where pixels are interpolated, else of the dtype of `images`.
    """
    if how.is_affine:
        size = tf.shape(images)[1:3]
        transforms = _output_to_input(uniforms, tf.cast(size, tf.float32), how)
        images = tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.cast(images, tf.float32),
            transforms=transforms,
            output_shape=size,
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="NEAREST",
        )
    if how.flip:
        # The raw op takes whole images by a vector; tf.where would broadcast it, three times slower.
        images = tf.raw_ops.Select(condition=uniforms[:, 6] < 0.5, x=tf.reverse(images, axis=[2]), y=images)
    return images


def _output_to_input(uniforms: tf.Tensor, size: tf.Tensor, how: Augmentation) -> tf.Tensor:
    """The maps as ImageProjectiveTransform wants them, [N, 8], where x = column and y = row."""
    # Per image: angle, shifts of rows and columns, shear, scales of rows and columns, each in [-1,
    # 1).
    angle, row, column, shear, row_scale, column_scale = tf.unstack(2.0 * uniforms[:, :6] - 1.0, axis=1)
    angle *= math.radians(how.rotation)
    shear *= math.radians(how.shear)
    shift = how.shift * tf.stack([row * size[0], column * size[1]], axis=1)
    rotation = _matrix(tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle))
    zero = tf.zeros_like(angle)
    shearing = _matrix(tf.ones_like(angle), -tf.sin(shear), zero, tf.cos(shear))
    scaling = _matrix(1.0 + how.zoom * row_scale, zero, zero, 1.0 + how.zoom * column_scale)
    linear = rotation @ shearing @ scaling
    centre = (size - 1.0) / 2.0
    offset = centre + tf.linalg.matvec(rotation, shift) - tf.linalg.matvec(linear, centre)
    return tf.stack(
        [
            linear[:, 1, 1],
            linear[:, 1, 0],
            offset[:, 1],
            linear[:, 0, 1],
            linear[:, 0, 0],
            offset[:, 0],
            zero,
            zero,
        ],
        axis=1,
    )


def _matrix(a: tf.Tensor, b: tf.Tensor, c: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.stack([a, b, c, d], axis=1), [-1, 2, 2])
