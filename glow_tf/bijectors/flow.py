"""A flow step, and a level of K steps, as bijectors."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.bijectors.base import LayerBijector
from glow_tf.flow.level import FlowLevel as Level
from glow_tf.flow.memory import MEMORY
from glow_tf.flow.step import FlowStep as Step


class FlowStep(LayerBijector):
    """forward: y = actnorm^-1(permutation^-1(coupling^-1(x))); x and y [..., H, W, C], C even. See flow/step.py.

    Args of a new step: width, hidden channels of the coupling network; permutation, coupling, lu_decomposed,
    compute_dtype and context_channels as glow_tf.flow.step.FlowStep.
    """

    kinds = (Step,)


class FlowLevel(LayerBijector):
    """K flow steps in one loop, undone in turn; x and y [..., H, W, C], C even. See glow_tf.flow.level.FlowLevel.

    Args:
      layer: a FlowLevel, or C for a new one.
      memory: what `inverse` keeps for its gradient, "store", "checkpoint" or "reversible" (see glow_tf.flow.memory);
        `forward` always recomputes.
      validate_args, name: as LayerBijector.
      **options: of a new level: depth (K), width, and the rest as FlowStep.

    Raises:
      ValueError: memory is unknown, or as LayerBijector.
    """

    kinds = (Level,)

    def __init__(self, layer: Any, *, memory: str = "reversible", name: str | None = None, **options: Any):
        if memory not in MEMORY:
            raise ValueError(f"FlowLevel: memory={memory!r} is unknown; allowed are {', '.join(MEMORY)}")
        super().__init__(layer, name=name, **options)
        self.memory = memory
        self._parameters = self._no_dependency({**self.parameters, "memory": memory})

    @classmethod
    def build(cls, channels: int, **options: Any) -> Any:
        return Level(channels=channels, **{"name": "level", **options})

    @staticmethod
    def _dtype_of(layer: Any) -> tf.DType:
        return layer.step.dtype

    def inverse_and_log_det(self, y: tf.Tensor, **kwargs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return self._apply(self.layer.forward, y, memory=self.memory, **kwargs)
