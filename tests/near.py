"""The one comparison of numeric tests: its failure names the quantity, the worst element, what was allowed, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.tolerances import Tolerance


def assert_near(what: str, ours: Any, wanted: Any, tolerance: Tolerance, *, floor: float = 1.0) -> float:
    """Fails unless no element of `ours` differs from `wanted` by more than tolerance.allowed times the scale.

    Args:
      what: the quantity, for the failure.
      ours: every element must be finite.
      wanted: of the same shape.
      tolerance: of tests/tolerances.py.
      floor: the scale is the largest magnitude in `wanted`, but at least this. With 0 the scale is the magnitude
        itself, as gradients need, and an array of zeros, which would show nothing, fails.

    Returns:
      The largest difference, relative to the scale.
    """
    ours, wanted = np.asarray(ours, np.float64), np.asarray(wanted, np.float64)
    if ours.shape != wanted.shape:
        pytest.fail(f"{what}: shape {ours.shape} where {wanted.shape} is wanted")
    if not ours.size:
        return 0.0
    scale = max(float(np.abs(wanted).max()), floor)  # in this order NaN stays NaN
    if not (scale > 0 and np.isfinite(scale)):
        pytest.fail(f"{what}: what is wanted has a largest magnitude of {scale}, which shows nothing")
    differences = np.nan_to_num(np.abs(ours - wanted) / scale, nan=np.inf)
    worst = np.unravel_index(np.argmax(differences), differences.shape)
    if differences[worst] > tolerance.allowed:
        beyond = np.count_nonzero(differences > tolerance.allowed)
        pytest.fail(
            f"{what}[{', '.join(map(str, worst))}] is {ours[worst]:.9g} where {wanted[worst]:.9g} is wanted: "
            f"they differ by {differences[worst]:.2g} of {scale:.3g}, allowed is {tolerance.allowed:.2g} "
            f"({tolerance.why}); {beyond} of {ours.size} elements differ by more"
        )
    return float(differences[worst])
