"""The layers, the flow step and the whole model as TFP bijectors, and the model as a TFP distribution.

TFP's convention has `forward` go from latents to images, so every `forward` here is the `inverse` of the layer or model
of the same name, and `tfd.TransformedDistribution(base, bijector)` is a model of images. The package needs
TensorFlow Probability 0.25, or 0.24 with TensorFlow 2.16 and 2.17: `pip install 'glow_tf[tfp]'`.
"""

from __future__ import annotations

try:
    import tensorflow_probability as _tfp  # noqa: F401
except ImportError as error:
    raise ImportError(
        "glow_tf.bijectors needs TensorFlow Probability 0.25, or 0.24 with TensorFlow 2.16 and 2.17: "
        f"pip install 'glow_tf[tfp]' ({error})"
    ) from error

from glow_tf.bijectors.base import LayerBijector
from glow_tf.bijectors.distribution import GlowDistribution
from glow_tf.bijectors.flow import FlowLevel, FlowStep
from glow_tf.bijectors.glow import GlowBijector
from glow_tf.bijectors.layers import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    InvertibleConv1x1,
    Permutation,
    Split,
    Squeeze,
)

__all__ = [
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "FlowLevel",
    "FlowStep",
    "GlowBijector",
    "GlowDistribution",
    "InvertibleConv1x1",
    "LayerBijector",
    "Permutation",
    "Split",
    "Squeeze",
]
