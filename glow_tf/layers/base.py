"""The contract of a layer, and the checks that name the layer in their errors.

A layer is an invertible map on images, [N, H, W, C] -> [N, H', W', C'], with a log-determinant per example. Its
mathematics are pure functions of (weights, x): `forward_with` and `inverse_with`. The layer itself only owns the
variables, plain ones, or with `stack=K` one variable [K, ...] for the K steps of a level, whose loop slices them and
calls the same functions.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

Weights = Mapping[str, Any]  # nested: attribute name -> tensor, or -> the weights of a part
Initializer = Callable[[list[int], list[int], Any], tf.Tensor]  # (shape, stateless seed, dtype) -> initial value

LOG_SCALE_FACTOR = 3.0  # OpenAI's logscale_factor: scales are exp(3 * logs)


def zeros(shape: list[int], seed: list[int], dtype: Any) -> tf.Tensor:
    """All zero; the seed is not needed."""
    del seed
    return tf.zeros(shape, dtype)


def normal(shape: list[int], seed: list[int], dtype: Any) -> tf.Tensor:
    """N(0, 0.05), OpenAI's initial convolution weights."""
    return tf.random.stateless_normal(shape, seed, stddev=0.05, dtype=dtype)


def scale_of(logs: tf.Tensor) -> tf.Tensor:
    """exp(3 * logs): the scale that the weight `logs` stands for."""
    return tf.exp(LOG_SCALE_FACTOR * logs)


class Part(tf.Module):
    """Owns variables and parts with variables; `weights()` reads them all as one nested dict.

    Args:
      stack: None for plain variables, K for variables [K, ...] that hold K steps' weights.
      dtype: of the variables, float32 or float64.
      seed: initial values are a function of this number and the variable's name.
      name: a Python identifier; variables are named by the names of the parts around them.

    Attributes:
      set_by_data: names of the weights that data-dependent initialisation sets.
    """

    set_by_data: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        stack: int | None = None,
        dtype: Any = tf.float32,
        seed: int = 0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.dtype = tf.as_dtype(dtype)
        if self.dtype not in (tf.float32, tf.float64):
            raise ValueError(f"{self.name}: dtype {self.dtype.name!r} is not supported; use float32 or float64")
        if stack is not None and stack < 1:
            raise ValueError(f"{self.name}: stack={stack} must be at least 1")
        self.stack = stack
        self.seed = seed
        self._weight_names: tuple[str, ...] = ()

    def add_weight(self, name: str, shape: list[int], initializer: Initializer, *, trainable: bool = True) -> None:
        """Makes the variable `self.<name>`, of `shape` plus the stack's leading dimension."""
        with self.name_scope as scope:
            seed = [self.seed, zlib.crc32(f"{scope}{name}".encode()) & 0x7FFFFFFF]
            value = initializer(self._stacked(shape), seed, self.dtype)
            setattr(self, name, tf.Variable(value, trainable=trainable, name=name))
        self._weight_names += (name,)

    def add_constant_weight(self, name: str, value: tf.Tensor, *, trainable: bool = False) -> None:
        """Makes the variable `self.<name>` from a given initial value, stacked already where the part is."""
        with self.name_scope:
            setattr(self, name, tf.Variable(value, trainable=trainable, name=name))
        self._weight_names += (name,)

    def add_part(self, name: str, build: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Makes `self.<name>`, a part with this part's stack, dtype and seed."""
        with self.name_scope:
            common = {"stack": self.stack, "dtype": self.dtype, "seed": self.seed, "name": name}
            setattr(self, name, build(*args, **common, **options))
        self._weight_names += (name,)

    def _stacked(self, shape: list[int]) -> list[int]:
        return shape if self.stack is None else [self.stack, *shape]

    def weights(self) -> dict[str, Any]:
        """Every weight's present value, nested by attribute names."""
        values = {}
        for name in self._weight_names:
            member = getattr(self, name)
            values[name] = member.weights() if isinstance(member, Part) else tf.convert_to_tensor(member)
        return values

    def weights_set_by_data(self) -> dict[str, Any]:
        """Those of `weights` that data-dependent initialisation sets, nested as it returns them."""
        values = {}
        for name in self._weight_names:
            member = getattr(self, name)
            if not isinstance(member, Part):
                if name in self.set_by_data:
                    values[name] = tf.convert_to_tensor(member)
            elif inside := member.weights_set_by_data():
                values[name] = inside
        return values

    def assign_weights(self, values: Weights) -> None:
        """Sets the weights that `values` names (nested, any subset) to its tensors."""
        for name, value in values.items():
            member = getattr(self, name)
            if isinstance(member, Part):
                member.assign_weights(value)
            else:
                member.assign(value)


class Layer(Part):
    """An invertible map on images.

    A subclass implements `forward_with` and `inverse_with`; both return the result and log|det| of the map just
    applied, so the two directions' log-determinants are each other's negatives. The class docstring of a layer gives
    its function, its reverse and its log-determinant as three formulas (paper, Table 1).

    Args:
      channels: C of the input of `forward`.
      stack, dtype, seed, name: see Part.
    """

    def __init__(self, channels: int, **part: Any):
        super().__init__(**part)
        if channels < 1:
            raise ValueError(f"{self.name}: channels={channels} must be at least 1")
        self.channels = channels

    @property
    def channels_out(self) -> int:
        """C of the output of `forward`."""
        return self.channels

    def forward_with(self, weights: Weights, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`forward` as a pure function of one step's weights and x."""
        raise NotImplementedError

    def inverse_with(self, weights: Weights, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`inverse` as a pure function of one step's weights and y."""
        raise NotImplementedError

    def initialize_with(self, weights: Weights, x: tf.Tensor) -> tuple[dict[str, Any], tf.Tensor, tf.Tensor]:
        """Data-dependent initialisation (paper, section 3.1): (the weights it sets, y, log_det with them)."""
        return ({}, *self.forward_with(weights, x))

    def forward(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies the layer.

        Args:
          x: [N, H, W, channels].

        Returns:
          (y [N, H', W', channels_out], log_det [N] in nats).

        Raises:
          ValueError: x has another rank, number of channels or dtype.
        """
        return self.forward_with(self.weights(), self.check(x, self.channels))

    def inverse(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies the inverse of the layer.

        Args:
          y: [N, H', W', channels_out].

        Returns:
          (x [N, H, W, channels], log_det [N] of this inverse map, in nats).

        Raises:
          ValueError: y has another rank, number of channels or dtype.
        """
        return self.inverse_with(self.weights(), self.check(y, self.channels_out))

    def initialize(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Sets the weights that depend on data from the batch x, and returns what `forward` then gives for it."""
        values, y, log_det = self.initialize_with(self.weights(), self.check(x, self.channels))
        self.assign_weights(values)
        return y, log_det

    def check(self, x: tf.Tensor, channels: int) -> tf.Tensor:
        """x as a tensor, or a ValueError that says what this layer takes."""
        if self.stack is not None:
            raise ValueError(f"{self.name} holds the weights of {self.stack} steps; apply it through its FlowLevel")
        x = tf.convert_to_tensor(x)
        wanted = f"{self.name} takes {self.dtype.name} images [N, H, W, {channels}]"
        if x.dtype != self.dtype:
            raise ValueError(f"{wanted}, not {x.dtype.name}")
        if x.shape.rank != 4 or x.shape[-1] != channels:
            raise ValueError(f"{wanted}, not shape {x.shape}")
        return x
