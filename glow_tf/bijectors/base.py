"""What all bijectors here share: one evaluation gives the value and the log-determinant, and both are cached."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf.bijectors.batches import in_common, with_one_batch_dimension

_TFPCache: Any = type(tfp.bijectors.Bijector._cache)  # its class has no public name


class ResultCache(_TFPCache):
    """TFP's cache of a bijector's results, which forgets a log-determinant together with the value it belongs to.

    TFP's own keeps a log-determinant for as long as the argument is alive. A loop that trains eagerly on one tensor
    would get the log-determinant of its first step again and again, without a gradient.
    """

    def _attributes(self, argument: Any, fn_name: str, **kwargs: Any) -> dict[str, Any]:
        edge = self._get_or_create_edge(argument, fn_name, kwargs)
        if not edge.output_ref:  # none yet, or dead
            edge.attributes.clear()
        return edge.attributes


class OneEvaluationBijector(tfp.bijectors.Bijector):
    """A bijector whose two maps return the value together with the log-determinant.

    A subclass gives `forward_and_log_det` and `inverse_and_log_det`. What they return is cached for as long as somebody
    holds the resulting value: the log-determinant then costs nothing, and the way back returns the very tensor. As with
    any TFP bijector, a result that is held does not notice that a variable was assigned, or that a new gradient tape
    was opened; drop it, and it is computed anew.
    """

    _cache = ResultCache()

    def forward_and_log_det(self, x: tf.Tensor, **kwargs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """(y, log|det dy/dx| [...] in nats)."""
        raise NotImplementedError

    def inverse_and_log_det(self, y: tf.Tensor, **kwargs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """(x, log|det dx/dy| [...] in nats)."""
        raise NotImplementedError

    def _forward(self, x: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        y, log_det = self.forward_and_log_det(x, **kwargs)
        self._cache.forward_attributes(x, **kwargs)["ildj"] = -log_det
        return y

    def _inverse(self, y: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        x, log_det = self.inverse_and_log_det(y, **kwargs)
        self._cache.inverse_attributes(y, **kwargs)["ildj"] = log_det
        return x

    # TFP asks these only where the cache holds no log-determinant, so the value is had, and cached, first.

    def _forward_log_det_jacobian(self, x: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        _held = self.forward(x, **kwargs)  # until the return: the cache forgets what nobody holds
        return -self._cache.forward_attributes(x, **kwargs)["ildj"]

    def _inverse_log_det_jacobian(self, y: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        _held = self.inverse(y, **kwargs)
        return self._cache.inverse_attributes(y, **kwargs)["ildj"]


class LayerBijector(OneEvaluationBijector):
    """A layer of glow_tf as a bijector on images: `forward` is the layer's inverse, from latents to images.

    x (what `forward` takes): [..., H, W, C], of the shape of the layer's output.
    y (what `inverse` takes): [..., H', W', C'], of the shape of the layer's input.

    There may be any number of leading dimensions. The weights are the layer's variables, which the bijector tracks;
    `bijector.layer.initialize(images)` sets those that depend on data. `parameter_properties` is empty: no argument of
    the constructor is a tensor, so a layer's bijector has no batch shape of its own.

    A layer with context_channels=C takes `context=`, [..., H, W, C] of the layer's dtype, at every call; its leading
    dimensions broadcast with those of x and y.

    Args:
      layer: a layer of glow_tf.layers, which two bijectors may share, or a number of channels for a new layer: C of its
        `forward`, so of this bijector's images.
      validate_args: as in TFP; nothing is validated beyond the shapes and the dtype, which always are.
      name: of the bijector; keyword arguments go to it by this name in a chain.
      **options: the arguments of a new layer, such as dtype and seed.

    Raises:
      ValueError: `layer` is of another kind, or options are given with a layer that exists.
    """

    kinds: ClassVar[tuple[Any, ...]] = ()
    constant_jacobian: ClassVar[bool] = False

    def __init__(self, layer: Any, *, validate_args: bool = False, name: str | None = None, **options: Any):
        if not self.kinds:
            raise TypeError("LayerBijector is what the bijectors of layers have in common; use one of those")
        layer = self._layer_of(layer, options)
        parameters = {"layer": layer, "validate_args": validate_args, "name": name}
        super().__init__(
            dtype=self._dtype_of(layer),
            forward_min_event_ndims=3,
            is_constant_jacobian=self.constant_jacobian,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )
        self.layer = layer

    @classmethod
    def build(cls, channels: int, **options: Any) -> Any:
        """A new layer of this bijector's kind."""
        (kind,) = cls.kinds
        return kind(channels, **options)

    @classmethod
    def _layer_of(cls, layer: Any, options: dict[str, Any]) -> Any:
        if isinstance(layer, int) and not isinstance(layer, bool):
            return cls.build(layer, **options)
        if not isinstance(layer, cls.kinds):
            kinds = " or ".join(kind.__name__ for kind in cls.kinds)
            raise ValueError(f"{cls.__name__} takes a number of channels or a layer {kinds}, not {layer!r}")
        if options:
            raise ValueError(f"{cls.__name__}: {', '.join(options)} belong to a new layer, but {layer.name} exists")
        return layer

    @staticmethod
    def _dtype_of(layer: Any) -> tf.DType:
        return layer.dtype

    def forward_and_log_det(self, x: tf.Tensor, **kwargs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return self._apply(self.layer.inverse, x, **kwargs)

    def inverse_and_log_det(self, y: tf.Tensor, **kwargs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return self._apply(self.layer.forward, y, **kwargs)

    @staticmethod
    def _apply(function: Any, x: tf.Tensor, context: Any = None, **kwargs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        if context is not None:
            context = tf.convert_to_tensor(context)
            if context.shape.rank is None or context.shape.rank < 3:
                raise ValueError(f"context must be [..., H, W, C], not shape {context.shape}")
            x, (kwargs["context"],) = in_common(x, 3, (context, 3))
        flat, restore = with_one_batch_dimension(x, 3)
        y, log_det = function(flat, **kwargs)
        return restore(y), restore(log_det)

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        return {}
