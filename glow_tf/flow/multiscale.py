"""The multi-scale architecture (paper, section 3 and figure 2b): what a Glow does, whoever holds its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from glow_tf.config import GlowConfig
from glow_tf.flow import quantization
from glow_tf.latents.flatten import sample_latents
from glow_tf.layers.conv import ZeroLinear
from glow_tf.layers.squeeze import squeeze2x2, unsqueeze2x2


class MultiScaleFlow:
    """Levels of flow steps, each but the last followed by a split that factors out half of the variables.

    A subclass sets the attributes: `Glow` to layers with variables that are trained, an export to layers whose weights
    are folded once and constant.

    Attributes:
      config: the model's configuration.
      dtype: of latents, log-determinants and weights.
      compute_dtype: of the coupling networks' matrix products in likelihoods.
      levels: L, each with `forward(x, memory, compute_dtype)` and `inverse(y, compute_dtype)`.
      splits: L - 1, each with `forward(x)` and `inverse(y)`.
      prior: with `forward(x, label)` and `inverse(y, label)`.
      classifier: with `weights()`, those of a ZeroLinear; None where the model has none.
    """

    config: GlowConfig
    dtype: tf.DType
    compute_dtype: tf.DType
    levels: Sequence[Any]
    splits: Sequence[Any]
    prior: Any
    classifier: Any

    # The bijection, on continuous images

    def to_latents(
        self, x: tf.Tensor, y: tf.Tensor | None = None, memory: str = "reversible", compute_dtype: Any = None
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """(eps, log_det [N] in nats, top z before its prior) for continuous images x [N, H, W, C] in [-1/2, 1/2).

        `memory` says what is kept for a gradient; compute_dtype is the coupling networks'. It is the model's dtype
        unless given, also with precision="bfloat16": a stack of networks that round their inputs to bfloat16 would
        not undo itself, because a difference in the last bit of float32 can move an input to the next bfloat16.
        """
        z, eps, total = squeeze2x2(x), [], tf.zeros(tf.shape(x)[:1], x.dtype)
        for i, level in enumerate(self.levels):
            z, log_det = level.forward(z, memory, compute_dtype or self.dtype)
            total += log_det
            if i < len(self.splits):
                z, log_det = self.splits[i].forward(z)
                kept, latent = tf.split(z, 2, -1)
                eps.append(latent)
                total += log_det
                z = squeeze2x2(kept)
        top, log_det = self.prior.forward(z, y)
        return [*eps, top], total + log_det, z

    def from_latents(self, eps: Sequence[tf.Tensor], y: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """(continuous images x [N, H, W, C], log_det [N] of this map in nats): the inverse of `to_latents`."""
        z, total = self.prior.inverse(eps[-1], y)
        for i, level in reversed(list(enumerate(self.levels))):
            if i < len(self.splits):
                z, log_det = self.splits[i].inverse(tf.concat([unsqueeze2x2(z), eps[i]], -1))
                total += log_det
            z, log_det = level.inverse(z, self.dtype)
            total += log_det
        return unsqueeze2x2(z), total

    # What is computed with it

    def continuous(self, x: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """uint8 images x and dequantisation noise, both [N, H, W, C] -> what `to_latents` takes."""
        return quantization.to_continuous(self.config, x, noise, self.dtype)

    def log_prob_and_top(
        self, x: tf.Tensor, y: tf.Tensor | None, noise: tf.Tensor, memory: str = "reversible"
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(log p(x) in nats, [N], of uint8 images x with this noise; the top z before its prior)."""
        eps, log_det, top = self.to_latents(self.continuous(x, noise), y, memory, self.compute_dtype)
        log_prob = log_det + quantization.quantization_log_prob(self.config)
        for latent in eps:
            log_prob -= 0.5 * tf.reduce_sum(tf.square(latent) + math.log(2 * math.pi), [1, 2, 3])
        return log_prob, top

    def top(self, x: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """The top z of uint8 images x, before its prior."""
        any_label = tf.zeros(tf.shape(x)[:1], tf.int32)  # the top z does not depend on it
        return self.to_latents(self.continuous(x, noise), any_label)[2]

    def logits(self, top: tf.Tensor) -> tf.Tensor:
        """Class logits [N, n_y] from the top z; for a model that has a classifier."""
        return ZeroLinear.apply(self.classifier.weights(), tf.reduce_mean(top, [1, 2]))

    # What is drawn for it

    def sample_latents(self, n: Any, temperature: Any = 1.0, seed: Any = None) -> list[tf.Tensor]:
        """L latents of n images: standard normal, times the temperature (a number or [n])."""
        return sample_latents(self.config, n, temperature, seed, self.dtype)

    def draw_noise(self, shape: Any, seed: Any) -> tf.Tensor:
        """Dequantisation noise of `shape`, uniform in [0, 1/n_bins), a function of the stateless seed [2]."""
        return quantization.uniform_noise(self.config, shape, seed, self.dtype)

    def middle_of_bins(self, x: tf.Tensor) -> tf.Tensor:
        """The noise that puts every subpixel of x in the middle of its bin."""
        return tf.fill(tf.shape(x), tf.constant(0.5 / self.config.n_bins, self.dtype))
