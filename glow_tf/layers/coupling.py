"""Coupling layers, additive and affine (paper, section 3.3)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.layers.base import Weights
from glow_tf.layers.conditional import ConditionalLayer
from glow_tf.layers.coupling_net import CouplingNet
from glow_tf.layers.products import Arithmetic
from glow_tf.layers.tensors import per_example, shape_of


class Coupling(ConditionalLayer):
    """Half of the channels pass through and drive a network that says how the other half is changed.

    A subclass gives `couple` and `uncouple`, elementwise functions of the network's output h and the changed half, and
    says by `outputs_per_channel` how many outputs of the network it needs for each channel of that half.

    Args:
      channels: C, an even number.
      width: hidden channels of the network.
      compute_dtype: of the network's matrix products: a dtype or "tf32" (see products.py); the layer's dtype unless
        given.
      context_channels: of a context that the network is given besides; 0 for none.
    """

    outputs_per_channel: int

    def __init__(self, channels: int, width: int, *, compute_dtype: Any = None, **part: Any):
        super().__init__(channels, **part)
        if channels % 2:
            raise ValueError(f"{self.name}: channels={channels} must be even: a coupling splits them in halves")
        half = channels // 2
        self.compute_dtype = Arithmetic.of(compute_dtype or self.dtype)
        outputs = self.outputs_per_channel
        self.add_part(
            "net", CouplingNet, half, half * outputs, width, groups=outputs, context_channels=self.context_channels
        )

    def couple(self, h: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(the changed half after, log_det [N]) from h and the changed half before."""
        raise NotImplementedError

    def uncouple(self, h: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The inverse of `couple` for the same h."""
        raise NotImplementedError

    def forward_with(
        self, weights: Weights, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        kept, changed = tf.split(x, 2, -1)
        changed, log_det = self.couple(self._h(weights, kept, context), changed)
        return tf.concat([kept, changed], -1), log_det

    def inverse_with(
        self, weights: Weights, y: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        kept, changed = tf.split(y, 2, -1)
        changed, log_det = self.uncouple(self._h(weights, kept, context), changed)
        return tf.concat([kept, changed], -1), log_det

    def initialize_with(
        self, weights: Weights, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[dict[str, Any], tf.Tensor, tf.Tensor]:
        kept, changed = tf.split(x, 2, -1)
        values, h = self.net.initialize(weights["net"], kept, context)
        changed, log_det = self.couple(h, changed)
        return {"net": values}, tf.concat([kept, changed], -1), log_det

    def _h(self, weights: Weights, kept: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        _, height, width, _ = shape_of(kept)
        folded = self.net.fold(self.net.scaled(weights["net"]), height, width)
        return CouplingNet.apply(folded, kept, self.compute_dtype, context=context)[0]


class AdditiveCoupling(Coupling):
    """Adds a function of one half of the channels to the other half.

    Function: y1 = x1, y2 = x2 + f(x1).
    Reverse: x1 = y1, x2 = y2 - f(y1).
    Log-determinant: 0.

    x = (x1, x2) and y: [N, H, W, C], halves in channel order; f: CouplingNet with C / 2 outputs. With a context c
    [N, H, W, C'] the network is f(x1, c).

    Source: paper, section 3.3 and Table 1; flow_coupling 0 of OpenAI's code.
    """

    outputs_per_channel = 1

    def couple(self, h: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return z + h, per_example(z, 0.0)

    def uncouple(self, h: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return z - h, per_example(z, 0.0)


class AffineCoupling(Coupling):
    """Shifts and scales one half of the channels by functions of the other half.

    Function: y1 = x1, y2 = (x2 + t) * s, with (t, s) = (h1, sigmoid(h2 + 2)), (h1, h2) = f(x1).
    Reverse: x1 = y1, x2 = y2 / s - t, with the same t and s from y1.
    Log-determinant: sum(log s).

    x = (x1, x2) and y: [N, H, W, C], halves in channel order; f: CouplingNet with C outputs, whose weights have
    shift and scale interleaved (h1 = outputs 0, 2, ..., h2 = outputs 1, 3, ...). With a context c [N, H, W, C'] the
    network is f(x1, c).

    Source: paper, section 3.3 and Table 1; flow_coupling 1 of OpenAI's code, which has the sigmoid where the paper has
    exp, and the shift inside the scale.
    """

    outputs_per_channel = 2

    def couple(self, h: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shift, raw_scale = _shift_and_raw_scale(h)
        return (z + shift) * tf.sigmoid(raw_scale), -_minus_log_det(raw_scale)

    def uncouple(self, h: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shift, raw_scale = _shift_and_raw_scale(h)
        return z / tf.sigmoid(raw_scale) - shift, _minus_log_det(raw_scale)


def _shift_and_raw_scale(h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    shift, raw_scale = tf.split(h, 2, -1)
    return shift, raw_scale + 2.0


def _minus_log_det(raw_scale: tf.Tensor) -> tf.Tensor:
    """-sum(log sigmoid(raw_scale)), [N]."""
    return tf.reduce_sum(tf.nn.softplus(-raw_scale), [1, 2, 3])
