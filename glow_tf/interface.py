"""What a model does for its users, a live Glow or an export: arguments are checked here, and only here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from glow_tf.config import GlowConfig
from glow_tf.flow import quantization
from glow_tf.flow.contexts import context_of
from glow_tf.inputs import check_context, check_images, check_labels, check_latents, check_noise
from glow_tf.latents.flatten import flatten_latents, sample_latents, unflatten_latents


class ImageModel:
    """Likelihoods, latents and samples of uint8 images.

    A subclass sets the attributes and gives the functions of checked tensors at the end.

    Attributes:
      config: the model's configuration.
      dtype: of latents and likelihoods.
    """

    config: GlowConfig
    dtype: tf.DType

    # Likelihood

    def log_prob(self, x: Any, y: Any = None, noise: Any = None, context: Any = None) -> tf.Tensor:
        """log p(x) (or log p(x | y, context)) in nats, [N], of uint8 images x.

        It is the lower bound that the dequantisation noise gives: the log-density of x + noise, minus D log(n_bins).
        Its gradient is computed as with memory="reversible"; that of `losses` as the model's `memory` says.

        Args:
          x: uint8 [N, H, W, C].
          y: int [N]; needed where the model is class-conditional, ignored elsewhere.
          noise: [N, H, W, C] in [0, 1/n_bins); drawn afresh if None.
          context: [N, H, W, config.context_channels], for a model that has one; where the configuration says how it is
            made of the image, None makes it of x.

        Raises:
          ValueError: an argument is missing, or has another shape, type or range.
        """
        x = check_images(self.config, x)
        y = check_labels(self.config, y, x.shape[0])
        return self._log_prob(x, y, self._noise_for(x, noise), self.context_for(x, context))

    def bits_per_dim(self, x: Any, y: Any = None, noise: Any = None, context: Any = None) -> tf.Tensor:
        """Bits per subpixel, [N]: -log_prob / (H W C log 2). Arguments and errors as `log_prob`."""
        return quantization.to_bits_per_dim(self.config, self.log_prob(x, y, noise, context))

    def classify(self, x: Any, noise: Any = None, context: Any = None) -> tf.Tensor:
        """Class logits [N, n_y] of uint8 images x; the noise is the middle of the bin if None.

        Raises:
          ValueError: the model has no classifier (it needs ycond and weight_y > 0), or as `log_prob`.
        """
        if not self.config.has_classifier:
            raise ValueError("this model has no classifier: it needs ycond and weight_y > 0 in its configuration")
        x = check_images(self.config, x)
        return self._logits(x, self._middle_or(noise, x), self.context_for(x, context))

    # Latents

    def encode(self, x: Any, y: Any = None, noise: Any = None, context: Any = None) -> list[tf.Tensor]:
        """The L latents [N, H_i, W_i, C_i] of uint8 images x, fine to coarse, standard normal under the model.

        Args:
          x: uint8 [N, H, W, C].
          y: int [N]; needed where the model is class-conditional.
          noise: [N, H, W, C] in [0, 1/n_bins). None puts every subpixel in the middle of its bin, farthest from the
            values that `decode` would round to another one.
          context: as `log_prob`.

        Raises:
          ValueError: an argument has another shape, type or range.
        """
        x = check_images(self.config, x)
        y = check_labels(self.config, y, x.shape[0])
        noise = None if noise is None else self._noise_for(x, noise)
        return unflatten_latents(self.config, self._encode(x, y, noise, self.context_for(x, context)))

    def decode(self, eps: Sequence[Any], y: Any = None, context: Any = None) -> tf.Tensor:
        """The uint8 images [N, H, W, C] of L latents; decode(encode(x)) == x for 8 bits. Errors as `encode`.

        A context, where the model has one, has to be given: `context_of` makes that of an image.
        """
        return self.decode_and_check(eps, y, context)[0]

    def decode_and_check(self, eps: Sequence[Any], y: Any = None, context: Any = None) -> tuple[tf.Tensor, tf.Tensor]:
        """(`decode`, bool [N]: False where numbers of an image were not finite, so that its pixels are wrong)."""
        latents = check_latents(self.config, eps, self.dtype)
        n = latents[0].shape[0]
        context = check_context(self.config, context, self.dtype, n)
        return self._decode(flatten_latents(latents), check_labels(self.config, y, n), context)

    def context_of(self, x: Any) -> tf.Tensor:
        """The context [N, H, W, config.context_channels] that is made of uint8 images x [N, H, W, C].

        Raises:
          ValueError: the configuration does not say how (config.context), or x has another shape or type.
        """
        if not self.config.context_from_image:
            raise ValueError(f"context={self.config.context!r}: this model's context is not made of images")
        return context_of(self.config, check_images(self.config, x), self.dtype)

    def sample_latents(self, n: Any, temperature: Any = 1.0, seed: Any = None) -> list[tf.Tensor]:
        """L latents of n images: standard normal, times the temperature (a number or [n]). Errors as `sample`."""
        return sample_latents(self.config, n, temperature, seed, self.dtype)

    def sample(
        self, n: int, y: Any = None, temperature: Any = 1.0, seed: int | None = None, context: Any = None
    ) -> tf.Tensor:
        """n uint8 images [n, H, W, C] from the model.

        Args:
          n: how many.
          y: int [n]; needed where the model is class-conditional.
          temperature: scales the latents' standard deviation: a number, or one per image [n].
          seed: the images are a function of it; None draws others every time.
          context: [n, H, W, config.context_channels], for a model that has one.

        Raises:
          ValueError: an argument is missing, or has another shape, type or range.
        """
        return self.decode(self.sample_latents(n, temperature, seed), y, context)

    def fingerprint(self) -> str:
        """16 hexadecimal digits of the configuration and all weights: whether latents belong to this very model."""
        raise NotImplementedError

    # What a subclass gives: functions of checked tensors. Labels are int32 [N], or [0] for a model without classes, and
    # contexts [N, H, W, C'], or None for a model that is given none.

    def _log_prob(self, images: tf.Tensor, label: tf.Tensor, noise: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        raise NotImplementedError

    def _logits(self, images: tf.Tensor, noise: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        raise NotImplementedError

    def _encode(
        self, images: tf.Tensor, label: tf.Tensor, noise: tf.Tensor | None, context: tf.Tensor | None
    ) -> tf.Tensor:
        """Flat latents [N, D]; the middle of the bins where the noise is None."""
        raise NotImplementedError

    def _decode(self, flat: tf.Tensor, label: tf.Tensor, context: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """(uint8 images of flat latents, `quantization.is_finite` of each)."""
        raise NotImplementedError

    # Noise and context

    def context_for(self, x: tf.Tensor, context: Any) -> tf.Tensor | None:
        """The context for images x: that which is given, or else made of x; None for a model that is given none."""
        if context is None and self.config.context_from_image:
            return self.context_of(x)
        return check_context(self.config, context, self.dtype, x.shape[0])

    def _noise_for(self, x: tf.Tensor, noise: Any) -> tf.Tensor:
        if noise is None:
            return tf.random.uniform(tf.shape(x), 0.0, 1.0 / self.config.n_bins, self.dtype)
        return check_noise(self.config, noise, self.dtype, x.shape[0])

    def _middle_or(self, noise: Any, x: tf.Tensor) -> tf.Tensor:
        return quantization.middle_of_bins(self.config, x, self.dtype) if noise is None else self._noise_for(x, noise)
