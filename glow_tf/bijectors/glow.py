"""The whole model as one bijector between flat latents and images."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf.bijectors.base import OneEvaluationBijector
from glow_tf.bijectors.batches import in_common, with_one_batch_dimension
from glow_tf.bijectors.conditions import as_context, as_label, needed_context, needed_label
from glow_tf.flow.functions import ModelFunctions
from glow_tf.model import Glow


def no_constraint() -> Any:
    """Class labels are no continuous numbers, so nothing can be optimised over them."""
    raise NotImplementedError("a class label is a whole number: there is no bijector from the reals to it")


def as_model(glow: Any) -> Glow:
    """The Glow, or that of the functions given; a ValueError for anything else."""
    model = glow.model if isinstance(glow, ModelFunctions) else glow
    if not isinstance(model, Glow):
        raise ValueError(f"a glow_tf.Glow is needed, not {glow!r}")
    return model


class GlowBijector(OneEvaluationBijector):
    """forward: flat latents [..., D] -> continuous images [..., H, W, C]; the log-determinant holds the priors' scales.

    The latents are standardised, fine to coarse in the order of `glow_tf.flatten_latents`, and standard normal under
    the model: with `base = tfd.Sample(tfd.Normal(0., 1.), D)`, `tfd.TransformedDistribution(base, bijector)` is the
    model of images, nominally in [-1/2, 1/2) (GlowDistribution is that, and more). A gradient of `inverse` is computed
    as the model's `memory` says when `inverse` is called, or traced. Everything is computed in the model's dtype, also
    with precision="bfloat16", or the map would not be exactly invertible; `Glow.log_prob` then differs, by rounding.

    Class-conditional models need a label for every image: give it here, or to each call as `label=`. It broadcasts
    with the leading dimensions, so a bijector with labels [3] has the batch shape [3], in TFP's sense. So does the
    `context=` [..., H, W, C] of a model that has one; nothing is made of an image here.

    Args:
      glow: the model, whose variables the bijector tracks.
      label: int [...], for models with ycond or the context "label"; calls that give `label=` override it.
      context: [..., H, W, C], for models with context_channels=C; calls that give `context=` override it.
      validate_args: as in TFP; shapes, dtype and, where their values are known, labels are always checked.
      name: of the bijector; keyword arguments go to it by this name in a chain.

    Raises:
      ValueError: glow is no Glow; label or context is of another type or range, or the model takes none. When called:
        one is missing, or a shape does not fit.
    """

    def __init__(
        self, glow: Glow, label: Any = None, context: Any = None, *, validate_args: bool = False, name: str = "glow"
    ):
        self.model = as_model(glow)
        self.config = self.model.config
        self._label = as_label(self.config, label)
        self._context = as_context(self.config, context, self.model.dtype)
        parameters = {
            "glow": self.model,
            "label": self._label,
            "context": self._context,
            "validate_args": validate_args,
            "name": name,
        }
        super().__init__(
            dtype=self.model.dtype,
            forward_min_event_ndims=1,
            inverse_min_event_ndims=3,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @property
    def label(self) -> tf.Tensor | None:
        """int32 [...], as given to the constructor, or None."""
        return self._label

    @property
    def context(self) -> tf.Tensor | None:
        """[..., H, W, C], as given to the constructor, or None."""
        return self._context

    def forward_and_log_det(self, x: tf.Tensor, **kwargs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return self._apply(self.model.functions.from_flat, x, 1, **kwargs)

    def inverse_and_log_det(self, y: tf.Tensor, **kwargs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        images = None if y.shape.rank is None else y.shape[:-3].num_elements()
        to_flat = functools.partial(self.model.functions.to_flat, memory=self.model.memory_for(images))
        return self._apply(to_flat, y, 3, **kwargs)

    def _apply(
        self, function: Any, x: tf.Tensor, event_ndims: int, label: Any = None, context: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        self._check_event_shape(x.shape, event_ndims)
        label = self._label if label is None else as_label(self.config, label)
        needed_label(self.config, label)
        context = self._context if context is None else as_context(self.config, context, self.model.dtype)
        needed_context(self.config, context)
        x = tf.ensure_shape(x, x.shape[: x.shape.rank - event_ndims].concatenate(self._event_shape_of(event_ndims)))
        if label is not None or context is not None:
            x, (label, context) = in_common(x, event_ndims, (label, 0), (context, 3))
        flat, restore = with_one_batch_dimension(x, event_ndims)
        y, log_det = function(flat, tf.zeros([0], tf.int32) if label is None else label, context=context)
        return restore(y), restore(log_det)

    # Shapes

    def _event_shape_of(self, event_ndims: int) -> tuple[int, ...]:
        return (self.config.dimensions,) if event_ndims == 1 else self.config.image_shape

    def _check_event_shape(self, shape: tf.TensorShape, event_ndims: int) -> None:
        wanted = self._event_shape_of(event_ndims)
        if shape.rank is None or shape.rank < event_ndims or not shape[-event_ndims:].is_compatible_with(wanted):
            what = "forward takes flat latents" if event_ndims == 1 else "inverse takes images"
            raise ValueError(f"{self.name}: {what} [..., {', '.join(map(str, wanted))}], not shape {shape}")

    def _forward_event_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        self._check_event_shape(input_shape, 1)
        return input_shape[:-1].concatenate(self.config.image_shape)

    def _inverse_event_shape(self, output_shape: tf.TensorShape) -> tf.TensorShape:
        self._check_event_shape(output_shape, 3)
        return output_shape[:-3].concatenate([self.config.dimensions])

    def _forward_event_shape_tensor(self, input_shape: tf.Tensor) -> tf.Tensor:
        return tf.concat([input_shape[:-1], self.config.image_shape], 0)

    def _inverse_event_shape_tensor(self, output_shape: tf.Tensor) -> tf.Tensor:
        return tf.concat([output_shape[:-3], [self.config.dimensions]], 0)

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        properties = tfp.util.ParameterProperties
        return {
            "label": properties(default_constraining_bijector_fn=no_constraint),
            "context": properties(event_ndims=3),
        }
