"""Every public bijector, small and with perturbed weights, by name: the table that drives the tests of this folder.

A new bijector is one line here. The tests fail if a public bijector is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from glow_tf import bijectors
from tests.random_weights import perturb, random_glow


class Example(NamedTuple):
    """How to build a bijector, and what it takes.

    build: called with dtype and seed.
    shape: an event that `forward` takes (latents).
    image_shape: what it makes of it.
    kwargs: what its calls are given besides.
    """

    build: Callable[..., Any]
    shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    kwargs: dict[str, Any]


def _of(cls: Any, channels: int, shape: tuple[int, ...], image_shape: Any = None, **options: Any) -> Example:
    def build(**part: Any) -> Any:
        return perturb(cls(channels, **options, **part), seed=part["seed"])

    return Example(build, shape, image_shape or shape, {})


def _with_context(example: Example, size: tuple[int, int]) -> Example:
    """The example, given a fixed context [H, W, 2] that broadcasts with every batch."""
    context = np.sin(1 + np.arange(size[0] * size[1] * 2.0)).reshape(*size, 2) / 4
    return example._replace(kwargs={**example.kwargs, "context": context})


def _glow(label: Any = None, **fields: Any) -> Example:
    settings: dict[str, Any] = {"image_size": 4, "channels": 1, "width": 5, "depth": 1, **fields}

    def build(dtype: Any, seed: int) -> Any:
        model = random_glow(precision=dtype.name, seed=seed, **settings)
        return bijectors.GlowBijector(model)

    size = settings["image_size"]
    height, width = (size, size) if isinstance(size, int) else size
    image = (height, width, settings["channels"])
    return Example(build, (int(np.prod(image)),), image, {} if label is None else {"label": label})


_HALVES = (2, 3, 4)
EXAMPLES: dict[str, Example] = {
    "ActNorm": _of(bijectors.ActNorm, 3, (2, 3, 3)),
    "InvertibleConv1x1": _of(bijectors.InvertibleConv1x1, 5, (1, 3, 5)),
    "InvertibleConv1x1, LU": _of(bijectors.InvertibleConv1x1, 5, (1, 3, 5), lu_decomposed=True),
    "Permutation, reverse": _of(bijectors.Permutation, 3, (2, 2, 3), kind="reverse"),
    "Permutation, shuffle": _of(bijectors.Permutation, 5, (2, 2, 5), kind="shuffle"),
    "AdditiveCoupling": _of(bijectors.AdditiveCoupling, 4, _HALVES, width=5),
    "AffineCoupling": _of(bijectors.AffineCoupling, 4, _HALVES, width=5),
    "Squeeze": _of(bijectors.Squeeze, 3, (1, 2, 12), (2, 4, 3)),
    "Split": _of(bijectors.Split, 4, _HALVES),
    "FlowStep": _of(bijectors.FlowStep, 4, _HALVES, width=5),
    "FlowLevel": _of(bijectors.FlowLevel, 4, _HALVES, depth=2, width=5, memory="store", coupling="additive"),
    "GlowBijector": _glow(),
    "GlowBijector, ycond": _glow(
        label=1,
        ycond=True,
        n_y=3,
        image_size=(2, 4),
        n_levels=1,
        flow_permutation="shuffle",
        memory="store",
        channels=2,
    ),
    "AffineCoupling, context": _with_context(
        _of(bijectors.AffineCoupling, 4, _HALVES, width=5, context_channels=2), (2, 3)
    ),
    "Split, context": _with_context(_of(bijectors.Split, 4, (2, 2, 4), context_channels=2), (2, 2)),
    "FlowStep, context": _with_context(_of(bijectors.FlowStep, 4, _HALVES, width=5, context_channels=2), (2, 3)),
    "FlowLevel, context": _with_context(
        _of(bijectors.FlowLevel, 4, _HALVES, depth=2, width=5, context_channels=2), (2, 3)
    ),
    "GlowBijector, context": _with_context(_glow(context_channels=2, n_levels=1), (4, 4)),
}
NO_BIJECTORS = {"LayerBijector", "GlowDistribution"}  # what the layers' have in common, and the distribution


def built(name: str, dtype: Any = tf.float64) -> Any:
    """The bijector of that name, its weights perturbed: always the same one."""
    return _built(name, dtype)


@functools.cache
def _built(name: str, dtype: Any) -> Any:
    return EXAMPLES[name].build(dtype=dtype, seed=0)


def points(name: str, direction: str = "forward", batch: tuple[int, ...] = (2,), dtype: Any = tf.float64) -> tf.Tensor:
    """Arguments of `direction`, standard normal: [*batch, *event]."""
    example = EXAMPLES[name]
    shape = example.shape if direction == "forward" else example.image_shape
    return tf.constant(np.random.default_rng(0).standard_normal((*batch, *shape)), dtype)


def call(name: str, method: str, value: Any, dtype: Any = tf.float64) -> Any:
    """A method of the bijector of that name, with what it is given besides."""
    return getattr(built(name, dtype), method)(value, **given(name, dtype))


@functools.cache
def given(name: str, dtype: Any = tf.float64) -> dict[str, Any]:
    """What the calls of the bijector of that name are given besides, in that dtype."""
    kwargs = EXAMPLES[name].kwargs
    return {key: tf.constant(value, dtype) if key == "context" else value for key, value in kwargs.items()}
