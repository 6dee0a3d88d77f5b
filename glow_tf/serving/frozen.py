"""A Glow whose weights are constants: folded once, W inverses included.

The constants are untrainable variables that nothing assigns to, not constants of the graph: a SavedModel keeps each of
them once, whichever signatures use it, in its variables/ folder, and not in saved_model.pb, which protobuf limits to 2
GB. So a model may be of any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from glow_tf.flow.folded import FoldedStep
from glow_tf.flow.level import FlowLevel, FoldedLevel, Level
from glow_tf.flow.multiscale import MultiScaleFlow
from glow_tf.layers.base import Layer
from glow_tf.model import Glow


class FrozenGlow(MultiScaleFlow):
    """The model `glow` as it is now; training `glow` further does not change it.

    It refers to layers of `glow`, but uses only their functions of given weights.

    Attributes:
      constants: all there is of weights, by name.
    """

    def __init__(self, glow: Glow):
        self.config, self.dtype, self.compute_dtype = glow.config, glow.dtype, glow.compute_dtype
        self.constants: dict[str, tf.Variable] = {}
        shapes = [glow.config.level_shape(level) for level in range(glow.config.n_levels)]
        self.levels = [
            FrozenLevel(level, *self._hold(level.name, level.folded_for(height, width)[:2]))
            for level, (height, width, _) in zip(glow.levels, shapes, strict=True)
        ]
        self.splits = [self._frozen(split) for split in glow.splits]
        self.prior, self.encoder = self._frozen(glow.prior), self._frozen(glow.encoder)
        self.classifier = self._frozen(glow.classifier)

    def _frozen(self, part: Any) -> Any:
        return None if part is None else FrozenLayer(part, self._hold(part.name, part.weights()))

    def _hold(self, name: str, value: Any) -> Any:
        """The same nest of constants as `value` is of tensors; their names are made of those of its parts."""
        if isinstance(value, Mapping):
            return {key: self._hold(f"{name}/{key}", part) for key, part in value.items()}
        if isinstance(value, tuple):
            names = getattr(value, "_fields", range(len(value)))
            parts = [self._hold(f"{name}/{key}", part) for key, part in zip(names, value, strict=True)]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        self.constants[name] = tf.Variable(value, trainable=False, name=name)
        return self.constants[name]


class FrozenLevel(Level):
    """A level's K steps with constant weights, for images of one size.

    Args:
      level: whose functions are used.
      steps: its weights, of variables; `net` is a stacked Folded.
      log_det_per_pixel: a variable.
    """

    differentiable = False  # images come in and go out as whole numbers, which have no gradient

    def __init__(self, level: FlowLevel, steps: FoldedStep, log_det_per_pixel: tf.Variable):
        self.name, self.channels = level.name, level.channels
        self.coupling, self.compute_dtype = level.coupling, level.compute_dtype
        self._folded = steps, log_det_per_pixel

    def folded(self) -> FoldedLevel:
        """Read once for all steps, outside of the loop."""
        steps, log_det_per_pixel = tf.nest.map_structure(tf.convert_to_tensor, self._folded)
        return FoldedLevel(steps, log_det_per_pixel, condition=None)


class FrozenLayer:
    """A layer, or another part, with constant weights (a nest of variables)."""

    def __init__(self, layer: Any, weights: Mapping[str, Any]):
        self._layer: Layer = layer
        self._weights = weights

    def weights(self) -> dict[str, Any]:
        """As Part.weights."""
        return tf.nest.map_structure(tf.convert_to_tensor, self._weights)

    def forward(self, x: tf.Tensor, *more: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """As Layer.forward."""
        return self._layer.forward_with(self.weights(), x, *more)

    def inverse(self, y: tf.Tensor, *more: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """As Layer.inverse."""
        return self._layer.inverse_with(self.weights(), y, *more)
