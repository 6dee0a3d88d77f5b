"""What keeps the tests of this folder quick: models that they share."""

from __future__ import annotations

import functools
from typing import Any

import glow_tf
from tests.random_weights import random_glow


def model(precision: str = "float32", *, ycond: bool = False) -> glow_tf.Glow:
    """A small model with perturbed weights: always the same one, so what is traced for one test serves the next."""
    return _model(precision, ycond)


@functools.cache
def _model(precision: str, ycond: bool) -> glow_tf.Glow:
    fields: dict[str, Any] = {"ycond": True, "n_y": 3} if ycond else {}
    return random_glow(
        image_size=4, channels=1, n_levels=1, depth=1, width=5, n_bits_x=4, precision=precision, **fields
    )
