"""What a failing comparison says."""

from __future__ import annotations

import numpy as np
import pytest

from tests.near import assert_near
from tests.tolerances import Tolerance, rounded

LOOSE = Tolerance(0.1, "one digit is kept")
WANTED = np.array([[1.0, -2.0], [0.5, 4.0]])


def failure(*args, **kwargs):
    with pytest.raises(pytest.fail.Exception) as caught:
        assert_near("h", *args, **kwargs)
    return str(caught.value)


def test_it_names_the_quantity_the_worst_element_and_what_was_allowed():
    said = failure(np.add(WANTED, [[0.0, 0.5], [-0.6, 0.1]]), WANTED, LOOSE)
    assert said == (
        "h[1, 0] is -0.1 where 0.5 is wanted: they differ by 0.15 of 4, allowed is 0.1 (one digit is kept); "
        "2 of 4 elements differ by more"
    )


def test_the_largest_difference_is_returned():
    assert assert_near("h", np.add(WANTED, [[0.0, 0.2], [0.0, 0.1]]), WANTED, LOOSE) == pytest.approx(0.05)
    assert assert_near("h", WANTED[:0], WANTED[:0], LOOSE) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_near(value):
    assert "h[0, 1] is" in failure(np.where([[False, True], [False, False]], value, WANTED), WANTED, LOOSE)
    assert "shows nothing" in failure(WANTED, np.full_like(WANTED, value), LOOSE)


def test_shapes_are_not_broadcast():
    assert failure(WANTED[0], WANTED, LOOSE) == "h: shape (2,) where (2, 2) is wanted"


def test_the_scale():
    assert_near("h", [0.09], [0.0], LOOSE)  # at least 1
    assert "they differ by 0.25 of 0.4" in failure([0.3], [0.4], LOOSE, floor=0)
    assert "shows nothing" in failure([0.0], [0.0], LOOSE, floor=0)


def test_more_roundings_allow_more_and_a_wider_format_less():
    one, four = (rounded("bfloat16", n, 0.5, "why").allowed for n in (1, 4))
    assert (one, four) == (2.0**-8, 2.0**-7)
    assert rounded("float32", 1, 0.5, "why").allowed == 2.0**-24
