"""The three optimizers of OpenAI's code, and its Polyak average of the weights.

They differ from the textbook versions, and the published numbers depend on how. For a weight w with
gradient g at step t = 1, 2, ..., learning rate lr, and beta2 = 1 - 1/(train_its * polyak_epochs)::

    alpha = lr * sqrt(1 - beta2^t) / (1 - beta1^t)            (for adamax as well)
    m1    = beta1 * m1 + (1 - beta1) * g
    adam, adam2:  m2 = beta2 * m2 + (1 - beta2) * g^2         step = m1 / (sqrt(m2) + epsilon)
    adamax:       m2 = max(beta2 * m2, |g|)                   step = m1 / (m2 + epsilon)
    w     = weight_decay * w - alpha * step                   (a multiplier; 1 switches it off)

With several workers adam squares the averaged gradient; adam2 averages the workers' squared
gradients, which scales like plain gradient descent when workers are added.

Deviation: alpha is computed in float64 (OpenAI's code: float32, a relative difference below
1e-4 in the first steps and none later).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf


def beta2_of(train_its: int, polyak_epochs: float) -> float:
    """Decay of the second moment and of the Polyak average: 1 - 1/(train_its * polyak_epochs).

    Args:
      train_its: optimizer steps per epoch, at least 1.
      polyak_epochs: averaging time in epochs.

    Raises:
      ValueError: if the averaging time is shorter than one step.
    """
    steps = train_its * polyak_epochs
    if not steps >= 1:
        raise ValueError(
            f"polyak_epochs: {polyak_epochs} epochs of {train_its} steps average over {steps:g} steps;"
            " at least 1 step is needed"
        )
    return 1.0 - 1.0 / steps


class Optimizer(tf.Module):
    """What the three have in common: slots, the step counter and the bias correction.

    Args:
      beta1: decay of the first moment, in [0, 1).
      beta2: decay of the second moment, in [0, 1); see `beta2_of`.
      weight_decay: what a weight is multiplied by before each step, in (0, 1]; 1 is off.
      epsilon: added to the denominator, above 0.
    """

    _kernel: Callable[..., tf.Operation]  # of TensorFlow's fused ones
    averages_squares = False  # True: `update` wants the workers' mean squared gradient as well

    def __init__(
        self,
        beta1: float = 0.9,
        beta2: float = 0.999,
        weight_decay: float = 1.0,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(name=type(self).__name__.lower())
        for label, value in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= value < 1:
                raise ValueError(f"{self.name}: {label} is {value}; it must be in [0, 1)")
        if not 0 < weight_decay <= 1:
            raise ValueError(f"{self.name}: weight_decay is {weight_decay}; it must be in (0, 1]")
        if not epsilon > 0:
            raise ValueError(f"{self.name}: epsilon is {epsilon}; it must be above 0")
        self.beta1, self.beta2 = float(beta1), float(beta2)
        self.weight_decay, self.epsilon = float(weight_decay), float(epsilon)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._m1: dict[str, tf.Variable] = {}
        self._m2: dict[str, tf.Variable] = {}

    def initialize(self, variables: Mapping[str, tf.Variable]) -> None:
        """Makes the two moments of every variable (zeros), named after it: "<name>/m1", "<name>/m2"."""
        for name, variable in variables.items():
            for moments, label in ((self._m1, "m1"), (self._m2, "m2")):
                # a buffer each: shared ones would be copied in the first step, when memory is scarce
                zeros = tf.zeros(variable.shape, variable.dtype)
                moments[name] = tf.Variable(zeros, trainable=False, name=f"{name}/{label}")

    @property
    def slots(self) -> dict[str, tf.Variable]:
        """Everything that must be saved: the step counter and both moments, by name."""
        moments = {f"{name}/m1": slot for name, slot in self._m1.items()}
        moments.update({f"{name}/m2": slot for name, slot in self._m2.items()})
        return {"step": self.step, **moments}

    def begin(self, lr: tf.Tensor | float, enabled: tf.Tensor | None = None) -> tf.Tensor:
        """Counts a step, whose updates may come in parts: alpha, float64, for `update`.

        enabled: a bool, None for true. Where it is false, this and `update` leave everything as it is, to the bit and
        without a branch, for which a GPU's host would have to wait.
        """
        lr = tf.cast(lr, tf.float64) if tf.is_tensor(lr) else tf.constant(lr, tf.float64)
        one = tf.ones([], tf.int64)
        t = tf.cast(self.step.assign_add(_gated(enabled, one, 0), read_value=True), tf.float64)
        beta1, beta2 = (tf.constant(b, tf.float64) for b in (self.beta1, self.beta2))
        return _gated(enabled, lr * tf.sqrt(1 - tf.pow(beta2, t)) / (1 - tf.pow(beta1, t)), 0)

    def update(
        self,
        variables: Mapping[str, tf.Variable],
        gradients: Mapping[str, tf.Tensor],
        alpha: tf.Tensor,
        mean_squares: Mapping[str, tf.Tensor] | None = None,
        enabled: tf.Tensor | None = None,
    ) -> None:
        """Changes variables, all or some of those that `initialize` was given.

        Args:
          variables: by name.
          gradients: theirs, averaged over the workers.
          alpha: as `begin` gives it.
          mean_squares: adam2 with several workers: the squared gradients, averaged over the workers.
          enabled: see `begin`.
        """
        constants = {dtype: self._constants(dtype, alpha, enabled) for dtype in {v.dtype for v in variables.values()}}
        # One after the other, last variable first (the backward pass ends with the first ones): no
        # more than one variable's temporaries at a time, and a used gradient's memory is free again.
        done: list[tf.Operation] = []
        for name, variable in reversed(list(variables.items())):
            with tf.control_dependencies(done):
                if self.weight_decay != 1:
                    variable.assign(_gated(enabled, tf.constant(self.weight_decay, variable.dtype), 1) * variable)
                m1, m2, gradient = self._m1[name], self._m2[name], _gated(enabled, gradients[name], 0)
                if mean_squares is None:
                    slots = {"var": variable.handle, "m": m1.handle, "v": m2.handle}
                    op = self._kernel(**slots, grad=gradient, **constants[variable.dtype])
                    done = [] if op is None else [op]
                    continue
                betas = (self.beta1, self.beta2)
                share1, share2 = (_gated(enabled, tf.constant(1 - b, gradient.dtype), 0) for b in betas)
                first = m1.assign_add((gradient - m1) * share1)
                second = m2.assign_add((_gated(enabled, mean_squares[name], 0) - m2) * share2)
                lr = constants[variable.dtype]["lr"]
                variable.assign_sub(lr * first / (tf.sqrt(second) + self.epsilon))

    def _constants(self, dtype: tf.DType, alpha: tf.Tensor, enabled: tf.Tensor | None) -> dict[str, tf.Tensor]:
        """Arguments of TensorFlow's fused kernels; powers of 0 switch their bias correction off."""
        return {
            "lr": tf.cast(alpha, dtype),
            "beta1_power": tf.zeros([], dtype),
            "beta1": _gated(enabled, tf.constant(self.beta1, dtype), 1),
            "beta2": _gated(enabled, tf.constant(self.beta2, dtype), 1),
            "epsilon": tf.constant(self.epsilon, dtype),
        }


class Adamax(Optimizer):
    """m2 = max(beta2 * m2, |g|); the default."""

    _kernel = staticmethod(tf.raw_ops.ResourceApplyAdaMax)


class Adam(Optimizer):
    """m2 = beta2 * m2 + (1 - beta2) * g^2."""

    _kernel = staticmethod(tf.raw_ops.ResourceApplyAdam)

    def _constants(self, dtype: tf.DType, alpha: tf.Tensor, enabled: tf.Tensor | None) -> dict[str, tf.Tensor]:
        return {**super()._constants(dtype, alpha, enabled), "beta2_power": tf.zeros([], dtype)}


class Adam2(Adam):
    """Adam whose second moment averages the workers' squared gradients; with one worker, Adam."""

    averages_squares = True


def _gated(enabled: tf.Tensor | None, value: tf.Tensor, otherwise: float) -> tf.Tensor:
    """The value, or another where `enabled` is false."""
    return value if enabled is None else tf.where(enabled, value, tf.cast(otherwise, value.dtype))


_OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "adamax": Adamax, "adam2": Adam2}


def make_optimizer(
    name: str, *, beta1: float, beta2: float, weight_decay: float = 1.0, epsilon: float = 1e-8
) -> Optimizer:
    """The optimizer of that name: adam, adamax or adam2.

    Raises:
      ValueError: for any other name.
    """
    if name not in _OPTIMIZERS:
        raise ValueError(f"optimizer: {name!r} is unknown; allowed are {', '.join(_OPTIMIZERS)}")
    return _OPTIMIZERS[name](beta1, beta2, weight_decay, epsilon)


class PolyakAverage(tf.Module):
    """An exponential moving average of weights: average -= (1 - decay) * (average - w).

    It has no bias correction, and the trainer updates it before the optimizer's step, so it reads
    the weights the step started from; both as in OpenAI's code. Deviation: it starts from the weights
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

    def update(self, variables: Mapping[str, tf.Variable], enabled: tf.Tensor | None = None) -> None:
        """Moves the averages of these variables, all or some, towards what they are now, where `enabled`."""
        dtypes = {v.dtype for v in variables.values()}
        share = {dtype: _gated(enabled, tf.constant(1 - self.decay, dtype), 0) for dtype in dtypes}
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
