"""The Polyak average of the weights, kept beside the optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

__all__ = ["PolyakAverage"]


class PolyakAverage(tf.Module):
    """An exponential moving average of weights: average -= (1 - decay) * (average - w).

    It has no bias correction, and the trainer updates it before the optimizer's step, so it reads
    the weights the step started from; both as the original. Deviation: it starts from the weights
    after data-dependent initialisation (`reset`), there from the raw initial values.

    Args:
      decay: in [0, 1); see `beta2_of`.
      variables: what to average, by name. The averages are named "<name>/average".
    """

    def __init__(self, decay: float, variables: Mapping[str, tf.Variable]) -> None:
        super().__init__(name="polyak")
        if not 0 <= decay < 1:
            raise ValueError(f"polyak: decay is {decay}; it must be in [0, 1)")
        self.decay = float(decay)
        self.values = {  # a copy now, not in the first step, when memory is scarce
            name: tf.Variable(tf.raw_ops.DeepCopy(x=v), trainable=False, name=f"{name}/average")
            for name, v in variables.items()
        }

    def reset(self, variables: Mapping[str, tf.Variable]) -> None:
        """Starts anew from the weights as they are."""
        for name, average in self.values.items():
            average.assign(variables[name])

    def update(self, variables: Mapping[str, tf.Variable]) -> None:
        """Moves the averages of these variables, all or some, towards what they are now."""
        share = {dtype: tf.constant(1 - self.decay, dtype) for dtype in {v.dtype for v in variables.values()}}
        done: list[tf.Operation] = []
        for name in variables:
            average = self.values[name]
            with tf.control_dependencies(done):  # one after the other: one difference in memory at a time
                # TensorFlow's gradient descent kernel, average -= alpha * delta, is the update in one pass
                delta, alpha = average - variables[name], share[average.dtype]
                op = tf.raw_ops.ResourceApplyGradientDescent(var=average.handle, alpha=alpha, delta=delta)
            done = [] if op is None else [op]

    def swap(self, variables: Mapping[str, tf.Variable]) -> None:
        """Exchanges averages and weights, one variable at a time: no second copy of the model."""
        for name, average in self.values.items():
            weight = variables[name].read_value()
            variables[name].assign(average.read_value())
            average.assign(weight)
