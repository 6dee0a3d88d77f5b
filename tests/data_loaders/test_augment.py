from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from data_loaders.augment import EXTRA, FLIPS, NO_AUGMENTATION, SHIFTS, Augmentation, augment
from data_loaders.resize import to_uint8


def reference(image, u, how):
    """Pixel by pixel from the formulas of Keras' ImageDataGenerator (true centre), in float64."""
    height, width, _ = image.shape
    angle, row, column, shear, row_scale, column_scale = 2 * u[:6].astype(np.float64) - 1
    a, s = np.deg2rad(how.rotation * angle), np.deg2rad(how.shear * shear)
    rotation = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    shift = np.eye(3)
    shift[:2, 2] = how.shift * row * height, how.shift * column * width
    shearing = np.array([[1, -np.sin(s), 0], [0, np.cos(s), 0], [0, 0, 1]])
    zoom = np.diag([1 + how.zoom * row_scale, 1 + how.zoom * column_scale, 1])
    to_centre, back = np.eye(3), np.eye(3)
    to_centre[:2, 2] = -(height - 1) / 2, -(width - 1) / 2
    back[:2, 2] = -to_centre[:2, 2]
    matrix = back @ rotation @ shift @ shearing @ zoom @ to_centre
    result = np.empty(image.shape)
    for i in range(height):
        for j in range(width):
            r, c, _ = matrix @ (i, j, 1)
            r, c = np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)
            r0, c0 = int(r), int(c)
            r1, c1 = min(r0 + 1, height - 1), min(c0 + 1, width - 1)
            fr, fc = r - r0, c - c0
            top = (1 - fc) * image[r0, c0] + fc * image[r0, c1]
            bottom = (1 - fc) * image[r1, c0] + fc * image[r1, c1]
            result[i, j] = (1 - fr) * top + fr * bottom
    return result[:, ::-1] if how.flip and u[6] < 0.5 else result


@pytest.mark.parametrize(
    "how",
    [
        SHIFTS,
        EXTRA,
        Augmentation(rotation=15.0),
        Augmentation(zoom=0.1),
        Augmentation(shear=20.0),
        Augmentation(shift=0.3, rotation=40.0, zoom=0.4, shear=30.0, flip=True),
    ],
    ids=str,
)
def test_agrees_with_the_formulas(how, rng):
    images = rng.integers(0, 256, (6, 7, 10, 3), np.uint8)
    u = rng.random((6, 8), np.float32)
    got = augment(tf.constant(images), tf.constant(u), how).numpy()
    expected = np.stack([reference(image, row, how) for image, row in zip(images, u, strict=True)])
    np.testing.assert_allclose(got, expected, atol=5e-3)  # of 255: float32 coordinates


def test_a_shift_by_whole_pixels_repeats_the_edge():
    image = np.arange(100, dtype=np.uint8).reshape(1, 10, 10, 1)
    u = np.full((1, 8), 0.5, np.float32)
    u[0, 1], u[0, 2] = 1.0, 0.0  # rows by +0.1 * 10, columns by -0.1 * 10
    got = to_uint8(augment(tf.constant(image), tf.constant(u), SHIFTS)).numpy()[0, :, :, 0]
    image = image[0, :, :, 0]
    rows = np.minimum(np.arange(10) + 1, 9)[:, None]
    columns = np.maximum(np.arange(10) - 1, 0)
    np.testing.assert_array_equal(got, image[rows, columns])


def test_shifts_reach_a_tenth_and_no_further(rng):
    ramp = np.broadcast_to(np.arange(40, 80, dtype=np.float32)[:, None, None], (500, 40, 40, 1))
    u = rng.random((500, 8), np.float32)
    moved = augment(tf.constant(ramp), tf.constant(u), SHIFTS).numpy()[:, 20, 20, 0] - ramp[0, 20, 20, 0]
    assert -4 <= moved.min() < -3.8 and 3.8 < moved.max() <= 4
    assert np.mean(np.abs(moved - np.round(moved)) > 0.05) > 0.5  # fractions of pixels


@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
def test_a_flat_image_stays_exactly_as_it_is(level, rng):
    images = np.full((64, 16, 16, 3), level, np.uint8)
    u = rng.random((64, 8), np.float32)
    got = to_uint8(augment(tf.constant(images), tf.constant(u), EXTRA)).numpy()
    np.testing.assert_array_equal(got, images)


def test_values_are_rounded_down():
    assert to_uint8(tf.constant([0.0, 0.9, 1.0, 1.5, 254.99, 300.0, -2.0])).numpy().tolist() == [
        0, 0, 1, 1, 254, 255, 0,
    ]  # fmt: skip


def test_flips_alone_keep_bytes_and_take_half(rng):
    images = rng.integers(0, 256, (400, 4, 6, 3), np.uint8)
    got = augment(tf.constant(images), tf.constant(rng.random((400, 8), np.float32)), FLIPS).numpy()
    assert got.dtype == np.uint8
    same = np.all(got == images, axis=(1, 2, 3))
    flipped = np.all(got == images[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(same ^ flipped)
    assert 150 < flipped.sum() < 250


def test_truth():
    assert not NO_AUGMENTATION
    assert SHIFTS and EXTRA and FLIPS
    assert not FLIPS.is_affine
