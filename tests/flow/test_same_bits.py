"""The coupling network gives the same bits in a level's forward loop and in its inverse and backward loops.

Exact decoding and the reversible gradient rest on this one property, which holds or does not: there is no tolerance. A
level shows it without being looked into where nothing else rounds. Permutations only reverse the channels, actnorms are
the identity, the affine couplings' scales are 1, and the network of one step alone is not zero. The half that this
step changes is zero at first, so it becomes h + 0 on the way there and h' - h on the way back: zero again if, and only
if, both loops' networks agree to the bit.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.flow.level import FlowLevel
from glow_tf.layers.base import LOG_SCALE_FACTOR
from tests.emulated_tf32 import tf32_off  # noqa: F401
from tests.near import assert_near
from tests.random_weights import perturb
from tests.tolerances import Tolerance, another_loop

DEPTH, CHANNELS, HALF, SIZE = 3, 4, 2, (4, 6)
BATCHES = (1, 16)
SATURATED = 30.0  # the sigmoid of this is 1 in float32


class Exact(tf.Module):
    """A level as above, and functions traced from it as training and the model's methods trace them."""

    def __init__(self, coupling: str, compute_dtype: tf.DType, width: int, batch: int | None, *, jit: bool = False):
        super().__init__()
        self.level = FlowLevel(
            DEPTH, CHANNELS, width, name="level", permutation="reverse", coupling=coupling, compute_dtype=compute_dtype
        )
        self.level.jit = jit
        self.last = self.level.step.coupling.net.l_last
        perturb(self.level.step.coupling.net)
        self.random = [np.asarray(weight) for weight in (self.last.W, self.last.b)]
        self.last.logs.assign(tf.zeros_like(self.last.logs))
        self.shifts = slice(None, None, 2 if coupling == "affine" else 1)  # among the outputs, as they are stored
        signature = [tf.TensorSpec([batch, *SIZE, CHANNELS], tf.float32)] * 2
        self.train = tf.function(self._train, input_signature=signature, autograph=False)
        self.decode = tf.function(self._decode, input_signature=signature[:1], autograph=False)

    def only(self, live: int) -> None:
        """Makes the network of step `live` alone give something else than zero shifts and scales of 1."""
        for variable, random, constant in zip((self.last.W, self.last.b), self.random, (0.0, SATURATED), strict=True):
            value = np.full_like(random, constant)
            value[..., self.shifts] = 0
            value[live, ..., self.shifts] = random[live, ..., self.shifts]
            variable.assign(value)

    def _train(self, x: tf.Tensor, d_y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(y, gradient of the actnorms' logs), where the backward loop recovers the steps' inputs."""
        with tf.GradientTape() as tape:
            y, _ = self.level.forward(x, "reversible")
        return y, tape.gradient(y, self.level.step.actnorm.logs, output_gradients=d_y)

    def _decode(self, y: tf.Tensor) -> tf.Tensor:
        return self.level.inverse(y)[0]


@functools.cache
def exact(coupling: str, compute_dtype: tf.DType, width: int, batch: int | None) -> Exact:
    return Exact(coupling, compute_dtype, width, batch)


def images(live: int, batch: int) -> np.ndarray:
    """Standard normal, but zero in the half that step `live` changes."""
    x = np.random.default_rng(live).standard_normal([batch, *SIZE, CHANNELS]).astype(np.float32)
    x[..., HALF:] = 0  # what is zero when the steps' reversals have moved it to the second half
    return x if live % 2 else x[..., ::-1].copy()


@pytest.mark.parametrize("coupling", ["additive", "affine"])
@pytest.mark.parametrize("compute_dtype", [tf.float32, tf.bfloat16], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("width", [16, 512])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("shape", ["known", "unknown"])
def test_the_network_gives_the_same_bits_in_every_loop(coupling, compute_dtype, width, batch, shape):
    module = exact(coupling, compute_dtype, width, batch if shape == "known" else None)
    for live in range(DEPTH):
        module.only(live)
        x = images(live, batch)
        y, d_logs = module.train(x, np.random.default_rng(9).standard_normal(x.shape).astype(np.float32))
        moved = np.asarray(y) != (x if DEPTH % 2 == 0 else x[..., ::-1])
        assert moved.mean() > 0.45, "the network gave zeros, which show nothing"
        np.testing.assert_array_equal(module.decode(y), x, err_msg=f"step {live}: the inverse loop's network differs")
        # A scale's gradient is a sum of products with the step's input: exactly zero where this is recovered as zero.
        np.testing.assert_array_equal(
            d_logs[live, :HALF], np.zeros(HALF), err_msg=f"step {live}: the backward loop's network differs"
        )
        assert np.all(d_logs[live, HALF:] != 0)


@pytest.mark.parametrize("compute_dtype", [tf.float32, tf.bfloat16], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("width", [16, 512])
def test_xlas_loops_differ_by_the_rounding_of_one_network(compute_dtype, width):
    """XLA fuses each loop, and orders its sums, by what else is in it: the bits need not be the same."""
    module, batch = Exact("affine", compute_dtype, width, 16, jit=True), 16
    d_y = np.random.default_rng(9).standard_normal([batch, *SIZE, CHANNELS]).astype(np.float32)
    for live in range(DEPTH):
        module.only(live)
        x = images(live, batch)
        y, d_logs = module.train(x, d_y)
        shifts = np.abs(y - x[..., ::-1])
        assert (shifts > 0).mean() > 0.45, "the network gave zeros, which show nothing"
        allowed = another_loop(compute_dtype.name, CHANNELS, width, float(shifts.max()))
        assert_near(f"what step {live} is decoded to", module.decode(y), x, allowed)
        # A sum over all pixels of products with what should be recovered as zero.
        summed = Tolerance(LOG_SCALE_FACTOR * float(np.abs(d_y).sum()) * allowed.allowed, allowed.why)
        assert_near(f"gradients of step {live} that are sums of zeros", d_logs[live, :HALF], np.zeros(HALF), summed)
        assert np.all(d_logs[live, HALF:] != 0)
