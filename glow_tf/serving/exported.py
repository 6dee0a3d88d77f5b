"""An export, opened: what it can do under the names that `Glow` has for it."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from glow_tf.config import GlowConfig
from glow_tf.interface import ImageModel
from glow_tf.serving.versions import config_path, read_origin


class ExportedModel(ImageModel):
    """What `export_saved_model` wrote, with the methods of ImageModel; `encode` always takes the middle of the bins.

    Args:
      version: its folder, the one with saved_model.pb.

    Raises:
      ValueError: it holds no export, or a damaged one.

    Attributes:
      config: of the model.
      weights: for people: which weights these are; may be empty.
    """

    def __init__(self, version: Path):
        self.config = GlowConfig.from_json(config_path(version))
        origin = read_origin(version)
        self.weights, self._fingerprint = origin["weights"], origin["fingerprint"]
        try:
            self._loaded = tf.saved_model.load(str(version))
            self.dtype = self._loaded.signatures["decode"].structured_input_signature[1]["latents"].dtype
        except (MemoryError, tf.errors.ResourceExhaustedError):
            raise
        except Exception as error:  # TensorFlow has a dozen kinds for files that are damaged
            message = str(error).strip() or type(error).__name__
            raise ValueError(f"{version}: damaged ({message.splitlines()[0]})") from None

    def fingerprint(self) -> str:
        """That of the model that was exported."""
        return self._fingerprint

    def _log_prob(self, images: tf.Tensor, label: tf.Tensor, noise: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        return self._loaded.log_prob_given_noise(images, label, noise, *_given(context))["log_prob"]

    def _logits(self, images: tf.Tensor, noise: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        return self._loaded.classify(images, noise, *_given(context))["logits"]

    def _encode(
        self, images: tf.Tensor, label: tf.Tensor, noise: tf.Tensor | None, context: tf.Tensor | None
    ) -> tf.Tensor:
        if noise is not None:
            raise ValueError("noise: an export encodes the middle of the bins and takes none")
        return self._loaded.encode(images, label, *_given(context))["latents"]

    def _decode(self, flat: tf.Tensor, label: tf.Tensor, context: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        decoded = self._loaded.decode(flat, label, *_given(context))
        if "finite" not in decoded:  # exports of earlier versions do not tell
            return decoded["images"], tf.ones(tf.shape(flat)[:1], tf.bool)
        return decoded["images"], decoded["finite"]


def _given(context: tf.Tensor | None) -> list[tf.Tensor]:
    """The argument of an export whose model has a context; exports of others do not take it."""
    return [] if context is None else [context]
