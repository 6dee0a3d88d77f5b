"""The multi-scale architecture (paper, section 3 and figure 2b): what a Glow does, whoever holds its weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from glow_tf.config import GlowConfig
from glow_tf.flow import quantization
from glow_tf.flow.memory import Memory, of_level
from glow_tf.layers.context import ContextEncoder
from glow_tf.layers.conv import ZeroLinear
from glow_tf.layers.products import Arithmetic
from glow_tf.layers.squeeze import squeeze2x2, unsqueeze2x2


class Encoding(NamedTuple):
    """What `to_latents` returns.

    eps: L latents [N, H_i, W_i, C_i], fine to coarse. log_det: [N] in nats. top: z before its prior, [N, h, w, c].
    condition: the largest condition number of a 1x1 convolution, a float64 scalar; 1 without any.
    """

    eps: list[tf.Tensor]
    log_det: tf.Tensor
    top: tf.Tensor
    condition: tf.Tensor


class MultiScaleFlow:
    """Levels of flow steps, each but the last followed by a split that factors out half of the variables.

    A subclass sets the attributes: `Glow` to layers with variables that are trained, an export to layers whose weights
    are folded once and constant.

    Attributes:
      config: the model's configuration.
      dtype: of latents, log-determinants and weights.
      compute_dtype: of the coupling networks' matrix products in likelihoods.
      levels: L of `Level`.
      splits: L - 1, each with `forward(x)` and `inverse(y)`.
      prior: with `forward(x, label)` and `inverse(y, label)`.
      classifier: with `weights()`, those of a ZeroLinear; None where the model has none.
      encoder: with `weights()`, those of a ContextEncoder; None for a model without context.
    """

    config: GlowConfig
    dtype: tf.DType
    compute_dtype: Arithmetic
    levels: Sequence[Any]
    splits: Sequence[Any]
    prior: Any
    classifier: Any
    encoder: Any

    # The bijection, on continuous images

    def walk(
        self,
        z: tf.Tensor,
        at_level: Callable[[int, tf.Tensor], tf.Tensor],
        at_split: Callable[[int, tf.Tensor], tf.Tensor],
    ) -> tf.Tensor:
        """From fine to coarse through the scales; returns the top z, before its prior.

        Args:
          z: continuous images [N, H, W, C].
          at_level: (level, what comes into it) -> what comes out of its K steps.
          at_split: (split, what comes into it) -> the same size; its first half of channels goes on.
        """
        for i in range(len(self.levels)):
            z = at_level(i, squeeze2x2(z))
            if i < len(self.splits):
                z = tf.split(at_split(i, z), 2, -1)[0]
        return z

    def contexts(self, context: tf.Tensor | None, y: tf.Tensor | None) -> list[tf.Tensor | None]:
        """What every level is given of the context [N, H, W, C], or of the class y where that is the context."""
        if self.encoder is None:
            return [None] * len(self.levels)
        weights = self.encoder.weights()
        if self.config.context == "label":
            if y is None:
                raise ValueError("this model's context is the class: give labels, one per image")
            context = ContextEncoder.embedded(weights, y, self.config.height, self.config.image_width)
        return ContextEncoder.features(weights, context)

    def to_latents(
        self,
        x: tf.Tensor,
        y: tf.Tensor | None = None,
        memory: Memory = "reversible",
        compute_dtype: Any = None,
        probe: tf.Tensor | None = None,
        context: tf.Tensor | None = None,
    ) -> Encoding:
        """The latents of continuous images x [N, H, W, C] in [-1/2, 1/2).

        `memory` says what is kept for a gradient; `probe`, [L], has as its "gradient" how well every level's input is
        recovered where it is not kept (see scan.py); compute_dtype is the coupling networks'. It is the model's dtype
        unless given, also with precision="bfloat16": a stack of networks that round their inputs to bfloat16 would
        not undo itself, because a difference in the last bit of float32 can move an input to the next bfloat16.
        """
        eps: list[tf.Tensor] = []
        log_dets: list[tf.Tensor] = []
        conditions = [tf.ones([1], tf.float64)]
        probes = [None] * len(self.levels) if probe is None else tf.unstack(probe, len(self.levels))
        given = self.contexts(context, y)

        def at_level(i: int, z: tf.Tensor) -> tf.Tensor:
            folded = self.levels[i].folded()
            if folded.condition is not None:
                conditions.append(folded.condition)
            compute, of_this = compute_dtype or self.dtype, of_level(memory, i)
            z, log_det = self.levels[i].forward_folded(folded, z, of_this, compute, probes[i], given[i])
            log_dets.append(log_det)
            return z

        def at_split(i: int, z: tf.Tensor) -> tf.Tensor:
            z, log_det = self.splits[i].forward(z, given[i])
            eps.append(tf.split(z, 2, -1)[1])
            log_dets.append(log_det)
            return z

        top = self.walk(x, at_level, at_split)
        latent, log_det = self.prior.forward(top, y, given[-1])
        log_det = functools.reduce(tf.add, [*log_dets, log_det])
        return Encoding([*eps, latent], log_det, top, tf.reduce_max(tf.concat(conditions, 0)))

    def from_latents(
        self, eps: Sequence[tf.Tensor], y: tf.Tensor | None = None, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(continuous images x [N, H, W, C], log_det [N] of this map in nats): the inverse of `to_latents`."""
        given = self.contexts(context, y)
        z, total = self.prior.inverse(eps[-1], y, given[-1])
        for i, level in reversed(list(enumerate(self.levels))):
            if i < len(self.splits):
                z, log_det = self.splits[i].inverse(tf.concat([z, eps[i]], -1), given[i])
                total += log_det
            z, log_det = level.inverse(z, compute_dtype=self.dtype, context=given[i])
            total += log_det
            z = unsqueeze2x2(z)
        return z, total

    # What is computed with it

    def continuous(self, x: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """uint8 images x and dequantisation noise, both [N, H, W, C] -> what `to_latents` takes."""
        return quantization.to_continuous(self.config, x, noise, self.dtype)

    def log_prob_of(self, eps: Sequence[tf.Tensor], log_det: tf.Tensor) -> tf.Tensor:
        """log p(x) in nats, [N], of uint8 images whose latents these are, [N, ...], with this log_det [N]."""
        log_prob = log_det + quantization.quantization_log_prob(self.config)
        for latent in eps:
            log_prob -= 0.5 * tf.reduce_sum(tf.square(latent) + math.log(2 * math.pi), range(1, latent.shape.rank))
        return log_prob

    def top(self, x: tf.Tensor, noise: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """The top z of uint8 images x, before its prior."""
        any_label = tf.zeros(tf.shape(x)[:1], tf.int32)  # the top z does not depend on it
        return self.to_latents(self.continuous(x, noise), any_label, context=context).top

    def logits(self, top: tf.Tensor) -> tf.Tensor:
        """Class logits [N, n_y] from the top z; for a model that has a classifier."""
        return ZeroLinear.apply(self.classifier.weights(), tf.reduce_mean(top, [1, 2]))

    def draw_noise(self, shape: Any, seed: Any) -> tf.Tensor:
        """Dequantisation noise of `shape`, uniform in [0, 1/n_bins), a function of the stateless seed [2]."""
        return quantization.uniform_noise(self.config, shape, seed, self.dtype)
