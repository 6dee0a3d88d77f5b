"""The signatures of an export: what they take, what they check, what they return.

A graph cannot answer with Python's ValueError. TensorFlow refuses wrong types and names; shapes it takes as they come,
whatever a signature says, so they are asserted in the graph, as labels, n and temperature are. These fail with
InvalidArgumentError and the messages below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from glow_tf.flow import quantization
from glow_tf.flow.contexts import context_of
from glow_tf.flow.functions import ModelFunctions
from glow_tf.flow.multiscale import MultiScaleFlow
from glow_tf.latents.flatten import flatten_latents, sample_latents

SIGNATURES = ("bits_per_dim", "log_prob", "encode", "decode", "sample")
_ALL = -1  # of the numbers of a shape are in a message, not the first three


class Signatures(tf.Module):
    """The functions of `model`, each with a batch of any size.

    Args:
      model: a model whose only variables are `constants`.
      constants: tracked, so that they are saved.
    """

    def __init__(self, model: MultiScaleFlow, constants: dict[str, tf.Variable]):
        super().__init__(name="glow")
        self.constants = constants
        functions, config, dtype = ModelFunctions(model, inline=False), model.config, model.dtype
        images = tf.TensorSpec([None, *config.image_shape], tf.uint8, "images")
        label = tf.TensorSpec([None], tf.int32, "label")
        latents = tf.TensorSpec([None, config.dimensions], dtype, "latents")
        n, seed = (tf.TensorSpec([], tf.int32, name) for name in ("n", "seed"))
        temperature = tf.TensorSpec([], dtype, "temperature")
        noise = tf.TensorSpec(images.shape, dtype, "noise")
        sizes = [*config.image_shape[:2], config.context_channels]
        given = [tf.TensorSpec([None, *sizes], dtype, "context")] if config.context_given else []

        def compiled(*signature: tf.TensorSpec) -> Any:
            return tf.function(input_signature=[*signature, *given], autograph=False)

        @compiled(images, label, noise)
        def log_prob_given_noise(
            images: tf.Tensor, label: tf.Tensor, noise: tf.Tensor, context: Any = None
        ) -> dict[str, tf.Tensor]:
            images = checked_shape("images", images, config.image_shape)
            noise = checked_noise(noise, images)
            y, c = checked_label(model, label, images), checked_context(model, context, images)
            return {"log_prob": functions.log_prob(images, y, noise, c)}

        def log_prob_given_seed(images: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, context: Any) -> tf.Tensor:
            noise = model.draw_noise(tf.shape(images), tf.stack([seed, 0]))
            return log_prob_given_noise(images, label, noise, *([context] if given else []))["log_prob"]

        @compiled(images, label, seed)
        def log_prob(images: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, context: Any = None) -> dict[str, tf.Tensor]:
            return {"log_prob": log_prob_given_seed(images, label, seed, context)}

        @compiled(images, label, seed)
        def bits_per_dim(
            images: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, context: Any = None
        ) -> dict[str, tf.Tensor]:
            nats = log_prob_given_seed(images, label, seed, context)
            return {"bits_per_dim": quantization.to_bits_per_dim(config, nats)}

        @compiled(images, label)
        def encode(images: tf.Tensor, label: tf.Tensor, context: Any = None) -> dict[str, tf.Tensor]:
            images = checked_shape("images", images, config.image_shape)
            y, c = checked_label(model, label, images), checked_context(model, context, images)
            x = model.continuous(images, quantization.middle_of_bins(config, images, dtype))
            return {"latents": functions.to_flat(x, y, context=c)[0]}

        @compiled(latents, label)
        def decode(latents: tf.Tensor, label: tf.Tensor, context: Any = None) -> dict[str, tf.Tensor]:
            latents = checked_shape("latents", latents, [config.dimensions])
            y, c = checked_label(model, label, latents), checked_context(model, context, latents)
            x, _ = functions.from_flat(latents, y, c)
            return {"images": quantization.to_uint8(config, x), "finite": quantization.is_finite(x)}

        @compiled(n, label, temperature, seed)
        def sample(
            n: tf.Tensor, label: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor, context: Any = None
        ) -> dict[str, tf.Tensor]:
            tf.debugging.assert_positive(n, "n: the number of samples must be at least 1")
            allowed = tf.math.is_finite(temperature) & (temperature >= 0)
            tf.debugging.Assert(allowed, ["temperature: it must be finite, 0 or more, not", temperature])
            latents = flatten_latents(sample_latents(config, n, temperature, seed, dtype))
            return decode(latents, label, *([context] if given else []))

        # As attributes they are methods of the loaded object as well.
        self.bits_per_dim, self.log_prob = bits_per_dim, log_prob
        self.encode, self.decode, self.sample = encode, decode, sample
        # These two are methods only, for who has the noise in hand.
        self.log_prob_given_noise = log_prob_given_noise
        if model.classifier is not None:

            @compiled(images, noise)
            def classify(images: tf.Tensor, noise: tf.Tensor, context: Any = None) -> dict[str, tf.Tensor]:
                images = checked_shape("images", images, config.image_shape)
                c = checked_context(model, context, images)
                return {"logits": functions.logits(images, checked_noise(noise, images), c)}

            self.classify = classify
        if config.context_from_image:

            @tf.function(input_signature=[images], autograph=False)
            def context_of_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
                images = checked_shape("images", images, config.image_shape)
                return {"context": context_of(config, images, dtype)}

            self.context = context_of_images

    def served(self) -> dict[str, Any]:
        """The signatures, by name."""
        return {name: getattr(self, name) for name in (*SIGNATURES, "context") if hasattr(self, name)}


def checked_shape(name: str, value: tf.Tensor, wanted: Sequence[int]) -> tf.Tensor:
    """`value`, whose shape is asserted in the graph to be [N, *wanted]."""
    shape = _shape_at_run_time(value)
    text = ", ".join(map(str, wanted))
    fits = tf.equal(_text(shape[1:]), text)
    return _asserted(value, fits, [f"{name}: [N, {text}] is needed, not the shape", shape])


def checked_noise(noise: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """`noise`, whose shape is asserted in the graph to be that of the checked images: it would broadcast."""
    shape, wanted = _shape_at_run_time(noise), tf.shape(images)
    fits = tf.equal(_text(shape), _text(wanted))
    return _asserted(noise, fits, ["noise: the shape of the images is needed:", wanted, "not the shape", shape])


def _asserted(value: tf.Tensor, fits: tf.Tensor, message: list[Any], summarize: int | None = _ALL) -> tf.Tensor:
    """`value`, once it is asserted in the graph that it fits."""
    with tf.control_dependencies([tf.debugging.Assert(fits, message, summarize=summarize)]):
        return tf.identity(value)


def _text(shape: tf.Tensor) -> tf.Tensor:
    """A shape as text, to be compared with one of another rank."""
    return tf.strings.reduce_join(tf.strings.as_string(shape), separator=", ")


def checked_context(model: MultiScaleFlow, context: Any, like: tf.Tensor) -> tf.Tensor | None:
    """The context, whose shape is asserted in the graph, one for each of `like`; None for a model without one."""
    if not model.config.context_given:
        return None
    context = checked_shape("context", context, [*model.config.image_shape[:2], model.config.context_channels])
    n = tf.shape(like)[0]
    one_each = tf.equal(tf.shape(context)[0], n)
    message = ["context: one for each of so many images is needed:", n, "not the shape", tf.shape(context)]
    return _asserted(context, one_each, message)


def checked_label(model: MultiScaleFlow, label: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """label, int, one for each of `like`; asserted in the graph. Models without classes take anything."""
    if not model.config.takes_labels:
        return tf.zeros([0], tf.int32)
    n, n_y, shape = tf.shape(like)[0], model.config.n_y, _shape_at_run_time(label)
    one_each = tf.equal(tf.size(shape), 1) & tf.reduce_all(tf.equal(shape, n))
    message = ["label: one for each of so many images is needed:", n, "not the shape", shape]
    label = _asserted(label, one_each, message, summarize=None)
    known = tf.reduce_all((label >= 0) & (label < n_y))
    return _asserted(label, known, [f"label: this model has the classes 0 to {n_y - 1}, not", label], summarize=None)


def _shape_at_run_time(value: tf.Tensor) -> tf.Tensor:
    """The shape that `value` has, even if it is not what the signature says: which TensorFlow takes for granted."""
    return tf.shape(tf.raw_ops.PlaceholderWithDefault(input=value, shape=tf.TensorShape(None)))
