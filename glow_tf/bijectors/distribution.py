"""The model as a TFP distribution over continuous images, with separately named methods for uint8 images."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf.bijectors.batches import with_one_batch_dimension
from glow_tf.bijectors.glow import GlowBijector, as_model, no_constraint
from glow_tf.flow import quantization
from glow_tf.inputs import check_noise
from glow_tf.model import Glow


def _bijector_takes_all(kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    kwargs = dict(kwargs)
    return kwargs.pop("distribution_kwargs", {}), {**kwargs.pop("bijector_kwargs", {}), **kwargs}


class GlowDistribution(tfp.distributions.TransformedDistribution):
    """Glow's density over images [H, W, C], a `tfd.TransformedDistribution` of a normal by a GlowBijector.

    Events are **continuous images** of the model's dtype, nominally in [-1/2, 1/2): `log_prob`, `sample`,
    `experimental_sample_and_log_prob` and everything else that TFP has are about those. **uint8 images** have methods
    of their own, which dequantise: `log_prob_uint8`, `bits_per_dim` and `sample_uint8`. `log_prob` refuses integers.

    With a temperature T the latents are N(0, T^2), and `log_prob` is the density of that distribution, not the model's
    at T = 1. `sample` and `sample_uint8` also take `temperature=`, `label=` and `context=`, and `log_prob` and its like
    `label=` and `context=`, in place of the constructor's.

    The batch shape is that of temperature, label and context, broadcast. In a tf.function's arguments and results the
    distribution is a composite tensor of those three; the model goes by reference.

    Args:
      glow: the model, whose variables the distribution tracks.
      temperature: above 0, [...]; scales the latents' standard deviation.
      label: int [...], the classes of the batch, where the model is class-conditional. Or give `label=` to `log_prob`
        and `sample`: one or one per image.
      context: [..., H, W, C], for models with context_channels=C.
      validate_args: where true, a temperature that is not above 0 is an error also when its value is not known while
        tracing.
      allow_nan_stats, name: as in TFP.

    Raises:
      ValueError: glow is no Glow, temperature is not above 0, or label or context does not fit the model.
    """

    def __init__(
        self,
        glow: Glow,
        temperature: Any = 1.0,
        label: Any = None,
        context: Any = None,
        *,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "GlowDistribution",
    ):
        model = as_model(glow)
        self._glow = model.functions  # under this name TFP finds it for the composite tensor
        self._temperature = tf.convert_to_tensor(temperature, model.dtype, name="temperature")
        value = tf.get_static_value(self._temperature)
        if value is not None and not (value > 0).all():
            raise ValueError(f"temperature={value}: must be above 0, or there is no density")
        bijector = GlowBijector(model, label, context)
        self._label, self._context = bijector.label, bijector.context
        parameters = {
            "glow": model,
            "temperature": self._temperature,
            "label": self._label,
            "context": self._context,
            "validate_args": validate_args,
            "allow_nan_stats": allow_nan_stats,
            "name": name,
        }
        zero = tf.zeros([], model.dtype)
        normal = tfp.distributions.Normal(
            zero, self._temperature, validate_args=validate_args, allow_nan_stats=allow_nan_stats
        )
        super().__init__(
            distribution=tfp.distributions.Sample(normal, model.config.dimensions, name="latents"),
            bijector=bijector,
            kwargs_split_fn=_bijector_takes_all,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @property
    def model(self) -> Glow:
        """The Glow."""
        return as_model(self._glow)

    @property
    def temperature(self) -> tf.Tensor:
        """[...], what the latents' standard deviation is."""
        return self._temperature

    @property
    def label(self) -> tf.Tensor | None:
        """int32 [...], or None."""
        return self._label

    @property
    def context(self) -> tf.Tensor | None:
        """[..., H, W, C], or None."""
        return self._context

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        properties = tfp.util.ParameterProperties
        return {
            "temperature": properties(default_constraining_bijector_fn=lambda: tfp.bijectors.Softplus()),
            "label": properties(default_constraining_bijector_fn=no_constraint),
            "context": properties(event_ndims=3),
        }

    # Continuous images

    def log_prob(self, value: Any, name: str = "log_prob", **kwargs: Any) -> tf.Tensor:
        """log p(x) in nats, [...], of continuous images x [..., H, W, C], nominally in [-1/2, 1/2).

        Args:
          value: x, a floating-point tensor or array.
          name: of the operations.
          **kwargs: `label=` int and `context=` [..., H, W, C], broadcasting with the images' leading dimensions,
            override the constructor's.

        Raises:
          ValueError: value holds integers (see `log_prob_uint8`), or has another shape; a label is missing or wrong.
        """
        self._refuse_integers(value)
        return super().log_prob(value, name=name, **kwargs)

    def prob(self, value: Any, name: str = "prob", **kwargs: Any) -> tf.Tensor:
        """exp(log_prob); arguments and errors as there."""
        self._refuse_integers(value)
        return super().prob(value, name=name, **kwargs)

    def unnormalized_log_prob(self, value: Any, name: str = "unnormalized_log_prob", **kwargs: Any) -> tf.Tensor:
        """log_prob, which is normalised; arguments and errors as there."""
        self._refuse_integers(value)
        return super().unnormalized_log_prob(value, name=name, **kwargs)

    def _refuse_integers(self, value: Any) -> None:
        dtype = getattr(value, "dtype", None)
        if dtype is not None and not tf.as_dtype(dtype).is_floating:
            raise ValueError(
                f"log_prob and prob take continuous images in [-1/2, 1/2), not {tf.as_dtype(dtype).name};"
                " log_prob_uint8 takes uint8 images"
            )

    def _call_sample_n(self, sample_shape: Any, seed: Any, **kwargs: Any) -> tf.Tensor:
        temperature = kwargs.pop("temperature", None)
        if temperature is not None:
            return self.copy(temperature=temperature)._call_sample_n(sample_shape, seed, **kwargs)
        images = super()._call_sample_n(sample_shape, seed, **kwargs)
        drawn = tf.TensorShape(tf.get_static_value(tf.convert_to_tensor(sample_shape, tf.int32)))
        drawn = drawn.concatenate(self.batch_shape)
        if not images.shape[:-3].is_compatible_with(drawn):
            raise ValueError(
                f"label, context: those of a sample are at most one per image, and there are {drawn} images; for a"
                " batch of them, GlowDistribution(glow, label=..., context=...)"
            )
        return images

    # uint8 images

    def log_prob_uint8(
        self, images: Any, noise: Any = None, seed: Any = None, label: Any = None, context: Any = None
    ) -> tf.Tensor:
        """log p(images) in nats, [...]: log_prob of the dequantised images, minus D log(n_bins).

        A lower bound on the log-probability of the discrete image, in the mean over the noise. At temperature 1 it is
        `Glow.log_prob`; with precision="bfloat16" up to rounding, because here all is computed in the model's dtype.

        Args:
          images: uint8 [..., H, W, C].
          noise: [..., H, W, C] in [0, 1/n_bins).
          seed: stateless seed [2] of the noise, where noise is None; without either, other noise every time.
          label: as `log_prob`.
          context: as `log_prob`.

        Raises:
          ValueError: images are not uint8 or have another shape; noise has another shape than they, or is out of range;
            noise and seed are both given; as `log_prob`.
        """
        images = tf.convert_to_tensor(images)
        if images.dtype != tf.uint8:
            raise ValueError(
                f"log_prob_uint8 takes uint8 images, not {images.dtype.name}; log_prob takes continuous ones"
            )
        if noise is not None and seed is not None:
            raise ValueError("give noise or a seed for it, not both")
        model = self.model
        if noise is None:
            seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32) if seed is None else seed
            noise = model.draw_noise(tf.shape(images), seed)
        else:
            noise = self._checked_noise(noise, images)
        x = quantization.to_continuous(model.config, images, noise, model.dtype)
        kwargs = {name: value for name, value in (("label", label), ("context", context)) if value is not None}
        return self.log_prob(x, **kwargs) + quantization.quantization_log_prob(model.config)

    def _checked_noise(self, noise: Any, images: tf.Tensor) -> tf.Tensor:
        self.bijector.inverse_event_shape(images.shape)  # refuses images of another size first
        noise = tf.convert_to_tensor(noise)
        if not noise.shape.is_compatible_with(images.shape):
            raise ValueError(f"noise must have the shape of the images, {images.shape}, not {noise.shape}")
        flat, restore = with_one_batch_dimension(noise, 3)
        return restore(check_noise(self.model.config, flat, self.model.dtype, None))

    def bits_per_dim(
        self, images: Any, noise: Any = None, seed: Any = None, label: Any = None, context: Any = None
    ) -> tf.Tensor:
        """Bits per subpixel, [...], of uint8 images: -log_prob_uint8 / (H W C log 2); arguments and errors as there."""
        return quantization.to_bits_per_dim(self.model.config, self.log_prob_uint8(images, noise, seed, label, context))

    def sample_uint8(self, sample_shape: Any = (), seed: Any = None, **kwargs: Any) -> tf.Tensor:
        """uint8 images [*sample_shape, ..., H, W, C].

        Args:
          sample_shape: as `sample`, which has continuous images.
          seed: as there.
          **kwargs: `temperature=`, `label=` and `context=` override the constructor's.
        """
        return quantization.to_uint8(self.model.config, self.sample(sample_shape, seed=seed, **kwargs))
