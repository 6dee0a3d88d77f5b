"""Every bijector of a layer, on shapes that hypothesis draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from glow_tf import bijectors
from tests.bijectors.registry import EXAMPLES
from tests.near import assert_near
from tests.random_weights import perturb
from tests.tolerances import BIJECTORS

# name: (class, options, a number that divides the channels of its images)
LAYERS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "ActNorm": (bijectors.ActNorm, {}, 1),
    "InvertibleConv1x1": (bijectors.InvertibleConv1x1, {}, 1),
    "InvertibleConv1x1, LU": (bijectors.InvertibleConv1x1, {"lu_decomposed": True}, 1),
    "Permutation": (bijectors.Permutation, {"kind": "shuffle"}, 1),
    "AdditiveCoupling": (bijectors.AdditiveCoupling, {"width": 2}, 2),
    "AffineCoupling": (bijectors.AffineCoupling, {"width": 2}, 2),
    "Split": (bijectors.Split, {}, 2),
    "Squeeze": (bijectors.Squeeze, {}, 1),
    "FlowStep": (bijectors.FlowStep, {"width": 2}, 2),
    "FlowLevel": (bijectors.FlowLevel, {"width": 2, "depth": 2}, 2),
}
sizes, batches = st.integers(1, 4), st.lists(st.integers(0, 3), max_size=3)


def test_every_layer_is_here():
    layers = {cls.__name__ for cls, _, _ in LAYERS.values()}
    assert {name.split(",")[0] for name in EXAMPLES} == layers | {"GlowBijector"}


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(height=sizes, width=sizes, channels=sizes, batch=batches, seed=st.integers(0, 2**16))
def test_any_shape(name, height, width, channels, batch, seed):
    cls, options, divisor = LAYERS[name]
    channels *= divisor
    bijector = perturb(cls(channels, dtype=tf.float64, seed=seed, **options), seed=seed)
    shape = [height, width, 4 * channels if name == "Squeeze" else channels]
    x = tf.constant(np.random.default_rng(seed).standard_normal([*batch, *shape]))
    y = bijector.forward(x)
    assert y.shape == bijector.forward_event_shape(x.shape) == [*batch, *bijector.forward_event_shape(shape)]
    log_det = bijector.forward_log_det_jacobian(x)
    assert log_det.shape == batch
    again = tf.constant(y.numpy())
    back = bijector.inverse(again)
    assert back.shape == bijector.inverse_event_shape(again.shape) == x.shape
    assert_near("what comes back", back, x, BIJECTORS["any shape"])
    assert_near("log_det", bijector.inverse_log_det_jacobian(again), -log_det, BIJECTORS["any shape"])
