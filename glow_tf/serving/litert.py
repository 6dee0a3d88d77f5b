"""A model as one LiteRT file (.tflite) of built-in operations, for phones and wherever TensorFlow is too large.

A SavedModel's loops do not survive the conversion: LiteRT gives up the static shapes of what is sliced from a loop's
weights, and its matrix products then fail at the first call. So the K steps are unrolled here, each with constants of
its own, and every matrix product has a constant factor.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from glow_tf.flow import quantization
from glow_tf.flow.folded import FoldedStep, StepMap
from glow_tf.flow.functions import ModelFunctions
from glow_tf.flow.level import FoldedLevel, Level
from glow_tf.layers.products import Arithmetic
from glow_tf.layers.tensors import pixels
from glow_tf.model import Glow
from glow_tf.serving.frozen import FrozenGlow
from glow_tf.storage.files import atomic_write

_MOST_BYTES = 2**31  # of a FlatBuffer, which the format is


def export_litert(glow: Glow, path: str | Path, *, float16: bool = False) -> None:
    """Writes the model as a LiteRT file with the signatures

        encode                images -> latents [N, H*W*C], standard normal under the model
        decode                latents -> images, finite [N]: false where an image left float32 and is wrong
        log_prob_given_noise  images, noise -> log_prob [N] in nats

    for any number of images, with images uint8 [N, H, W, C], noise float32 [N, H, W, C] in [0, 1/n_bins), and latents
    in the order of `flatten_latents`. Each takes `label`, int32 [N], too where the model is class-conditional, and
    `context`, float32 [N, H, W, C'], where the model has one. Nothing is checked: a label out of range counts as no
    class. Everything is computed in float32.

    Args:
      glow: the model.
      path: of the file.
      float16: stores the weights in float16, in half the size; they are rounded to 11 bits.

    Raises:
      ValueError: the model is not of float32, or too large for a LiteRT file.
      OSError: the file cannot be written.
    """  # noqa: D415
    if glow.dtype != tf.float32:
        raise ValueError(f'LiteRT computes in float32, and this model has precision="{glow.precision}"')
    module = _Functions(glow)
    size = sum(constant.shape.num_elements() for constant in module.constants) * (2 if float16 else 4)
    if size > _MOST_BYTES:
        raise ValueError(f"the weights take {size / 1e9:.1f} GB; a LiteRT file holds at most {_MOST_BYTES / 1e9:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, module.served)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(module.served))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if float16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        content = converter.convert()
    with atomic_write(Path(path)) as temporary:
        temporary.write_bytes(content)


class _Functions(tf.Module):
    """The signatures, as functions of a model whose steps are unrolled."""

    def __init__(self, glow: Glow):
        super().__init__(name="glow")
        model, config = unrolled(glow), glow.config
        self.constants = list(model.constants.values())
        functions = ModelFunctions(model)
        images = tf.TensorSpec([None, *config.image_shape], tf.uint8, "images")
        noise = tf.TensorSpec(images.shape, tf.float32, "noise")
        latents = tf.TensorSpec([None, config.dimensions], tf.float32, "latents")
        specs = [tf.TensorSpec([None], tf.int32, "label")] if config.takes_labels else []
        if config.context_given:
            sizes = [None, *config.image_shape[:2], config.context_channels]
            specs.append(tf.TensorSpec(sizes, tf.float32, "context"))

        def conditions(given: tuple[tf.Tensor, ...]) -> tuple[Any, Any]:
            """(label, context), None for what the model does not take."""
            return given[0] if config.takes_labels else None, given[-1] if config.context_given else None

        def encode(images: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
            label, context = conditions(given)
            x = model.continuous(images, quantization.middle_of_bins(config, images, tf.float32))
            return {"latents": functions.to_flat(x, label, context=context)[0]}

        def decode(latents: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
            x, _ = functions.from_flat(latents, *conditions(given))
            return {"images": quantization.to_uint8(config, x), "finite": quantization.is_finite(x)}

        def log_prob_given_noise(images: tf.Tensor, noise: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
            label, context = conditions(given)
            return {"log_prob": functions.log_prob(images, label, noise, context)}

        takes = {encode: [images], decode: [latents], log_prob_given_noise: [images, noise]}
        self.served = {
            function.__name__: tf.function(function, input_signature=[*arguments, *specs], autograph=False)
            for function, arguments in takes.items()
        }


def unrolled(glow: Glow) -> FrozenGlow:
    """The model as it is now, with constant weights and without loops; everything in its dtype."""
    model = FrozenGlow(glow)
    levels = [UnrolledLevel(level) for level in model.levels]
    others = {name: constant for name, constant in model.constants.items() if not name.startswith("level_")}
    of_levels = {f"{level.name}/{i}": constant for level in levels for i, constant in enumerate(level.constants)}
    model.levels, model.constants = levels, {**others, **of_levels}
    model.compute_dtype = Arithmetic.of(model.dtype)
    return model


class UnrolledLevel(Level):
    """A level's K steps one after the other in the graph, which grows with K, each with constants of its own.

    Args:
      level: whose functions and weights are used.

    Attributes:
      constants: the weights, as untrainable variables.
    """

    differentiable = False

    def __init__(self, level: Level):
        self.name, self.channels = level.name, level.channels
        self.coupling, self.compute_dtype = level.coupling, level.compute_dtype
        folded = level.folded()
        self.constants: list[tf.Variable] = []
        self._steps = [
            tf.nest.map_structure(lambda stacked, k=k: self._hold(stacked[k]), folded.steps)
            for k in range(folded.steps.matrix.shape[0])
        ]
        self._log_det_per_pixel = self._hold(folded.log_det_per_pixel)

    def _hold(self, value: tf.Tensor) -> tf.Variable:
        self.constants.append(tf.Variable(value, trainable=False))
        return self.constants[-1]

    def folded(self) -> FoldedLevel:
        """As Level.folded; its steps are a list."""
        steps, log_det = tf.nest.map_structure(tf.convert_to_tensor, (self._steps, self._log_det_per_pixel))
        return FoldedLevel(steps, log_det, condition=None)

    def _run(
        self,
        kind: type[StepMap],
        folded: FoldedLevel,
        start: Any,
        memory: Any,
        compute_dtype: Any,
        context: Any,
        probe: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        step, x = kind(self.coupling, Arithmetic.of(compute_dtype or self.compute_dtype), context), start
        log_det = (-1.0 if kind.backwards else 1.0) * pixels(x) * folded.log_det_per_pixel
        steps: list[FoldedStep] = list(folded.steps)
        for weights in steps[::-1] if kind.backwards else steps:
            x, more, _ = step.apply(weights, x)
            log_det += more
        return x, log_det
