"""What a step that must not be trusted is called, and how far the policies of `on_nan` go."""

from __future__ import annotations

from collections.abc import Mapping

from glow_tf.layers.invertible_conv import SINGULAR
from glow_tf.training.config import TrainError

MOST_SKIPS = 10  # in a row: then it is the weights, and leaving out updates cannot mend them
MOST_ROLLBACKS = 10  # of a run: then the learning rate is a thousandth of what it was
LOWER = 0.5  # what a rollback multiplies the learning rate with


class DivergedError(TrainError):
    """A step's numbers are not finite, or a 1x1 convolution is close to singular.

    Attributes:
      step: the step, counted from 0; what stands in TrainState.step before it is taken.
    """

    def __init__(self, what: str, step: int) -> None:
        super().__init__(what)
        self.step = step


def describe(numbers: Mapping[str, float]) -> str:
    """What is wrong with a step's numbers, in words."""
    what = f"the loss is {numbers['loss']:.6g}, the norm of its gradient {numbers['grad_norm']:.6g}"
    if not numbers["condition"] < SINGULAR:
        what += (
            f", and the condition number of a 1x1 convolution {numbers['condition']:.3g},"
            f" where {SINGULAR:.0e} counts as singular"
        )
    return what
