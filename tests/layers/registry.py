"""Every public layer, small and with random weights, by name: the table that drives test_conformance.py.

A new layer is one line here. The tests fail if a public layer is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from glow_tf import layers
from glow_tf.flow.level import FlowLevel
from glow_tf.flow.step import FlowStep
from glow_tf.layers.prior import TopPrior
from tests.random_weights import perturb

LABEL = 1  # of every image, where a layer takes labels


class Example(NamedTuple):
    """How to build a layer, and the shape of an input to it.

    build: called with dtype, seed and (unless it is a level) stack.
    shape: [N, H, W, C] of an input.
    stacked: whether the layer has a stacked form.
    checked: whether the layer itself checks its input (a level's is checked by its model).
    """

    build: Callable[..., Any]
    shape: tuple[int, int, int, int]
    stacked: bool = True
    checked: bool = True


class Labelled(tf.Module):
    """A layer that takes labels, with the label fixed, so that it can be called as the others."""

    def __init__(self, layer: Any):
        super().__init__(name=layer.name)
        self.layer = layer
        self.channels = layer.channels

    def forward(self, x: Any) -> Any:
        return self.layer.forward(x, self._labels(x))

    def inverse(self, y: Any) -> Any:
        return self.layer.inverse(y, self._labels(y))

    def initialize(self, x: Any) -> Any:
        return self.forward(x)

    def _labels(self, x: Any) -> tf.Tensor:
        return tf.fill(tf.shape(x)[:1], LABEL)


class Conditional(tf.Module):
    """A layer that takes a context, with a fixed one, so that it can be called as the others."""

    def __init__(self, layer: Any):
        super().__init__(name=layer.name)
        self.layer = layer
        self.channels = layer.channels

    def forward(self, x: Any) -> Any:
        return self.layer.forward(x, context=context_for(self.layer, x))

    def inverse(self, y: Any) -> Any:
        return self.layer.inverse(y, context=context_for(self.layer, y))

    def initialize(self, x: Any) -> Any:
        if isinstance(self.layer, TopPrior):  # nothing of it depends on data
            return self.forward(x)
        return self.layer.initialize(x, context=context_for(self.layer, x))


class Level(tf.Module):
    """A level, called as a layer, with the memory mode and the context fixed."""

    def __init__(self, memory: str, **level: Any):
        super().__init__(name="level")
        self.level, self.memory = FlowLevel(name="level", **level), memory
        self.channels = level["channels"]

    def forward(self, x: tf.Tensor) -> Any:
        return self.level.forward(x, self.memory, context=context_for(self.level.coupling, x))

    def inverse(self, y: tf.Tensor) -> Any:
        return self.level.inverse(y, context=context_for(self.level.coupling, y))

    def initialize(self, x: tf.Tensor) -> Any:
        self.level.initialize(x, context_for(self.level.coupling, x))
        return self.forward(x)


def context_for(layer: Any, x: Any) -> tf.Tensor | None:
    """Numbers in [-1/4, 1/4], other ones at every pixel and channel, for all examples of x; None for no context."""
    if not layer.context_channels:
        return None
    x = tf.convert_to_tensor(x)
    batch, height, width, _ = tf.unstack(tf.shape(x)) if x.shape.rank == 4 else (1, 1, 1, 1)
    numbers = tf.range(height * width * layer.context_channels)
    context = tf.reshape(tf.sin(1 + 2 * tf.cast(numbers, layer.dtype)) / 4, [1, height, width, layer.context_channels])
    return tf.tile(context, [batch, 1, 1, 1])


def _of(layer: Callable[..., Any], *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda **part: layer(*args, **options, **part)


def _conditional(layer: Callable[..., Any], *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda **part: Conditional(layer(*args, context_channels=2, **options, **part))


def _prior(**options: Any) -> Callable[..., Any]:
    return lambda **part: Labelled(TopPrior(3, **options, **part))


def _level(memory: str, **options: Any) -> Callable[..., Any]:
    return lambda **part: Level(memory, depth=3, channels=4, width=5, **options, **part)


_HALVES = (2, 3, 2, 4)
EXAMPLES: dict[str, Example] = {
    "ActNorm": Example(_of(layers.ActNorm, 3), (2, 2, 3, 3)),
    "ActNorm, 1 channel": Example(_of(layers.ActNorm, 1), (3, 4, 2, 1)),
    "InvertibleConv1x1": Example(_of(layers.InvertibleConv1x1, 5), (2, 3, 2, 5)),
    "InvertibleConv1x1, 1 channel": Example(_of(layers.InvertibleConv1x1, 1), (2, 2, 2, 1)),
    "InvertibleConv1x1LU": Example(_of(layers.InvertibleConv1x1LU, 5), (2, 3, 2, 5)),
    "ReversePermutation": Example(_of(layers.ReversePermutation, 3), (2, 2, 3, 3)),
    "ShufflePermutation": Example(_of(layers.ShufflePermutation, 6), (2, 2, 3, 6)),
    "Squeeze": Example(_of(layers.Squeeze, 3), (2, 2, 4, 3)),
    "Squeeze, 1 channel": Example(_of(layers.Squeeze, 1), (2, 6, 4, 1)),
    "Split": Example(_of(layers.Split, 4), _HALVES),
    "Split, 2 channels": Example(_of(layers.Split, 2), (2, 2, 3, 2)),
    "AdditiveCoupling": Example(_of(layers.AdditiveCoupling, 4, 5), _HALVES),
    "AdditiveCoupling, bfloat16": Example(_of(layers.AdditiveCoupling, 4, 5, compute_dtype=tf.bfloat16), _HALVES),
    "AffineCoupling": Example(_of(layers.AffineCoupling, 4, 5), _HALVES),
    "AffineCoupling, bfloat16": Example(_of(layers.AffineCoupling, 4, 5, compute_dtype=tf.bfloat16), _HALVES),
    "AffineCoupling, 2 channels": Example(_of(layers.AffineCoupling, 2, 1), (2, 2, 3, 2)),
    "FlowStep": Example(_of(FlowStep, 4, 5), _HALVES),
    "FlowStep, reverse, additive": Example(_of(FlowStep, 4, 5, permutation="reverse", coupling="additive"), _HALVES),
    "FlowStep, shuffle, affine": Example(_of(FlowStep, 4, 5, permutation="shuffle"), _HALVES),
    "FlowStep, LU": Example(_of(FlowStep, 4, 5, lu_decomposed=True), _HALVES),
    "FlowLevel, store": Example(_level("store"), _HALVES, stacked=False, checked=False),
    "FlowLevel, checkpoint, LU": Example(
        _level("checkpoint", lu_decomposed=True), _HALVES, stacked=False, checked=False
    ),
    "FlowLevel, reversible, shuffle": Example(
        _level("reversible", permutation="shuffle", coupling="additive"), _HALVES, stacked=False, checked=False
    ),
    "TopPrior": Example(_prior(learntop=False), (2, 2, 3, 3)),
    "TopPrior, learntop": Example(_prior(learntop=True), (2, 3, 2, 3)),
    "TopPrior, ycond": Example(_prior(learntop=False, n_y=3), (2, 2, 3, 3)),
    "TopPrior, learntop, ycond": Example(_prior(learntop=True, n_y=3), (2, 3, 2, 3)),
    "TopPrior, context": Example(_conditional(TopPrior, 3, learntop=True), (2, 3, 2, 3)),
    "Split, context": Example(_conditional(layers.Split, 4), (2, 2, 2, 4)),
    "AdditiveCoupling, context": Example(_conditional(layers.AdditiveCoupling, 4, 5), _HALVES),
    "AffineCoupling, context": Example(_conditional(layers.AffineCoupling, 4, 5), _HALVES),
    "AffineCoupling, context, bfloat16": Example(
        _conditional(layers.AffineCoupling, 4, 5, compute_dtype=tf.bfloat16), _HALVES
    ),
    "FlowStep, context": Example(_conditional(FlowStep, 4, 5), _HALVES),
    "FlowLevel, store, context": Example(_level("store", context_channels=2), _HALVES, stacked=False, checked=False),
    "FlowLevel, checkpoint, context": Example(
        _level("checkpoint", context_channels=2, coupling="additive"), _HALVES, stacked=False, checked=False
    ),
    "FlowLevel, reversible, context": Example(
        _level("reversible", context_channels=2), _HALVES, stacked=False, checked=False
    ),
}
ABSTRACT = {"Layer"}  # public, but not a layer by itself


@functools.cache
def build(name: str, dtype: Any = tf.float64) -> Any:
    """The layer of that name, its weights perturbed: always the same one, so nobody may change it."""
    return build_anew(name, dtype)


def build_anew(name: str, dtype: Any = tf.float64, seed: int = 0) -> Any:
    """The layer of that name, its weights perturbed."""
    return perturb(EXAMPLES[name].build(dtype=dtype, seed=seed), seed=seed)


def batch(name: str, dtype: Any = tf.float64, seed: int = 0) -> tf.Tensor:
    """An input for the layer of that name."""
    return tf.constant(np.random.default_rng(seed).standard_normal(EXAMPLES[name].shape), dtype)


def class_names(layer: Any) -> set[str]:
    """The names of the classes of `layer` and of what it wraps."""
    inner = {getattr(layer, attribute, None) for attribute in ("layer", "level")} - {None}
    return {type(layer).__name__, *(type(member).__name__ for member in inner)}
