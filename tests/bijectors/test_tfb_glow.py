"""What docs/tfb_glow.md says of tfp.bijectors.Glow, as far as calling it shows."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.bijectors import glow as glow_module

from glow_tf import layers
from tests.near import assert_near
from tests.tolerances import BIJECTORS

tfb, tfd = tfp.bijectors, tfp.distributions
STEPS = 1  # of each of two levels


class Zeros:
    """A network of which only the number of outputs and of calls matters."""

    calls = 0

    def __init__(self, outputs: int):
        self.outputs = outputs

    def __call__(self, x):
        Zeros.calls += 1
        return tf.zeros([*x.shape[:-1], self.outputs])


def theirs(**options):
    return tfb.Glow(
        (8, 8, 1),
        num_glow_blocks=2,
        num_steps_per_block=STEPS,
        coupling_bijector_fn=lambda shape: Zeros(2 * shape[-1]),
        exit_bijector_fn=lambda shape, output_chan: Zeros(2 * output_chan),
        seed=0,
        **options,
    )


def image():
    return tf.constant(np.random.default_rng(0).random((1, 8, 8, 1)), tf.float32)


def test_networks_are_called_twice():
    flow = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), 64), theirs())
    flow.log_prob(image())  # initialises
    Zeros.calls = 0
    tf.function(flow.log_prob, autograph=False).get_concrete_function(image())
    assert Zeros.calls == 2 * (2 * STEPS + 1)


def test_exits_start_with_a_scale_of_e_squared():
    log_det = theirs(use_actnorm=False).inverse_log_det_jacobian(image(), 3)
    couplings = STEPS * (16 * 2 + 4 * 4) * np.log(1 / (1 + np.exp(-2)))
    assert_near("log_det", log_det, [couplings + 2 * 32], BIJECTORS["float32 samples"])


def test_sampling_initialises_actnorm():
    flow = theirs()
    flow.forward(tf.random.stateless_normal([4, 64], [0, 1]))
    assert all(bool(v) for v in flow.variables if v.dtype == tf.bool)


def test_keyword_arguments_are_ignored():
    flow = theirs(use_actnorm=False)
    np.testing.assert_array_equal(flow.inverse(image(), label=1), flow.inverse(image()))


def test_affine_coupling_scales_before_it_shifts():
    block = glow_module.GlowBlock((1, 1, 4), 1, lambda _: lambda h: tf.concat([h, h], -1), False, lambda: 0)
    (coupling,) = [part for part in block.bijectors if "real_nvp" in part.name]
    x = tf.random.stateless_normal([1, 1, 1, 4], [0, 1])
    y, scale = coupling.inverse(x), tf.sigmoid(x[..., :2] + 2)
    wanted = tf.concat([x[..., :2], x[..., 2:] * scale + x[..., :2]], -1)
    assert_near("y", y, wanted, BIJECTORS["float32 log-prob"])


def test_squeeze_is_ours():
    x = tf.reshape(tf.range(2.0 * 3 * 8), [1, 2, 3, 8])
    np.testing.assert_array_equal(glow_module.Expand([2, 3, 8]).forward(x), layers.Squeeze(2).inverse(x)[0])
