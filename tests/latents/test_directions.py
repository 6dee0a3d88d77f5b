"""Arithmetic with flat latents: paths between images, directions of attributes."""

from __future__ import annotations

import numpy as np
import pytest

from glow_tf.latents.directions import AttributeMeans, along
from glow_tf.latents.interpolation import interpolate, path_through

A, B = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)


@pytest.mark.parametrize("spherical", [False, True])
def test_a_path_begins_and_ends_exactly_at_its_ends(spherical):
    points = interpolate(A, B, [0, 0.5, 1], spherical=spherical)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points[[0, 2]], [A, B])


def test_straight():
    np.testing.assert_allclose(interpolate(A, B, [0.25])[0], 0.75 * A + 0.25 * B, rtol=1e-5, atol=1e-6)


def test_spherical_turns_by_equal_angles_and_keeps_the_length():
    a, b = A / np.linalg.norm(A), B / np.linalg.norm(B)
    points = interpolate(a, b, np.linspace(0, 1, 5), spherical=True)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-6)
    angles = np.arccos(np.sum(points[:-1] * points[1:], 1))
    np.testing.assert_allclose(angles, np.arccos(a @ b) / 4, rtol=1e-5)


@pytest.mark.parametrize(("start", "end"), [(A, 2 * A), (A, -A), (A, 0 * A), (0 * A, 0 * A)])
def test_where_there_is_no_great_circle_the_path_is_straight(start, end):
    points = interpolate(start, end, [0, 0.3, 1], spherical=True)
    np.testing.assert_allclose(points[1], 0.7 * start + 0.3 * end, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((2, 3), (2, 3)), ((), ())])
def test_ends_that_are_no_flat_latents(shapes):
    with pytest.raises(ValueError, match="flat latents"):
        interpolate(np.zeros(shapes[0]), np.zeros(shapes[1]), [0])


def test_a_chain_meets_every_station_once():
    stations = np.stack([A, B, A + B])
    path = path_through(stations, 4)
    assert path.shape == (7, 50)
    np.testing.assert_array_equal(path[[0, 3, 6]], stations)


@pytest.mark.parametrize(("latents", "frames"), [(np.zeros((1, 5)), 3), (np.zeros((2, 5)), 1), (np.zeros(5), 3)])
def test_no_path(latents, frames):
    with pytest.raises(ValueError, match="2 latents and 2 frames"):
        path_through(latents, frames)


def test_along():
    moved = along([A, B], B, [-1, 0, 2])
    assert moved.shape == (2, 3, 50)
    np.testing.assert_array_equal(moved[:, 1], [A, B])
    np.testing.assert_allclose(moved[0, 2], A + 2 * B, rtol=1e-5, atol=1e-6)


def test_directions_are_mean_with_minus_mean_without_however_they_are_batched():
    random = np.random.default_rng(1)
    latents, values = random.standard_normal((30, 6)), random.choice([-1, 1], (30, 3))
    means = AttributeMeans(3, 6)
    for begin in range(0, 30, 7):
        means.add(latents[begin : begin + 7], values[begin : begin + 7])
    wanted = [latents[v > 0].mean(0) - latents[v < 0].mean(0) for v in values.T]
    np.testing.assert_allclose(means.directions(), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(means.mean(), latents.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(means.n_with, (values > 0).sum(0))
    np.testing.assert_array_equal(means.n_with + means.n_without, [30] * 3)


def test_an_attribute_that_all_or_none_have_has_no_direction():
    means = AttributeMeans(2, 4)
    means.add(np.ones((3, 4)), np.array([[1, -1]] * 3))
    np.testing.assert_array_equal(means.directions(), np.zeros((2, 4)))
    np.testing.assert_array_equal(means.n_without, [0, 3])


def test_a_large_common_part_does_not_drown_a_small_difference():
    means = AttributeMeans(1, 1)
    for value in (1, -1):
        for _ in range(1000):
            means.add(np.full((1, 1), 1e6 + 0.25 * value), [[value]])
    assert means.directions()[0, 0] == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize(
    ("latents", "values", "what"),
    [
        (np.zeros((2, 4)), np.ones((3, 2)), "are needed"),
        (np.zeros((2, 5)), np.ones((2, 2)), "are needed"),
        (np.zeros((2, 4)), np.ones((2, 1)), "are needed"),
        (np.zeros((2, 4)), np.zeros((2, 2)), "-1 or 1"),
        (np.full((2, 4), np.nan), np.ones((2, 2)), "not finite"),
    ],
)
def test_batches_that_cannot_be_counted(latents, values, what):
    with pytest.raises(ValueError, match=what):
        AttributeMeans(2, 4).add(latents, values)
