"""An export, opened: what it can do under the names that `Glow` has for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from glow_tf.config import GlowConfig
from glow_tf.flow.quantization import to_bits_per_dim
from glow_tf.inputs import check_images, check_labels, check_latents, check_noise
from glow_tf.latents.flatten import flatten_latents, sample_latents, unflatten_latents
from glow_tf.serving.versions import config_path, read_origin


class ExportedModel:
    """What `export_saved_model` wrote: the part of `Glow`'s methods that commands use, with its results and errors.

    `bits_per_dim` and `classify` must be given the dequantisation noise; `encode` always takes the middle of the bins.

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
            self._dtype = self._loaded.signatures["decode"].structured_input_signature[1]["latents"].dtype
        except (MemoryError, tf.errors.ResourceExhaustedError):
            raise
        except Exception as error:  # TensorFlow has a dozen kinds for files that are damaged
            message = str(error).strip() or type(error).__name__
            raise ValueError(f"{version}: damaged ({message.splitlines()[0]})") from None

    def fingerprint(self) -> str:
        """That of the model that was exported."""
        return self._fingerprint

    def encode(self, x: Any, y: Any = None) -> list[tf.Tensor]:
        """The L latents of uint8 images."""
        x = check_images(self.config, x)
        flat = self._loaded.encode(x, check_labels(self.config, y, x.shape[0]))["latents"]
        return unflatten_latents(self.config, flat)

    def decode(self, eps: Sequence[Any], y: Any = None) -> tf.Tensor:
        """The uint8 images of L latents."""
        latents = check_latents(self.config, eps, self._dtype)
        label = check_labels(self.config, y, latents[0].shape[0])
        return self._loaded.decode(flatten_latents(latents), label)["images"]

    def sample_latents(self, n: int, temperature: Any = 1.0, seed: int | None = None) -> list[tf.Tensor]:
        """L latents of n images."""
        return sample_latents(self.config, n, temperature, seed, self._dtype)

    def bits_per_dim(self, x: Any, y: Any, noise: Any) -> tf.Tensor:
        """Bits per subpixel, [N]."""
        x = check_images(self.config, x)
        y, noise = check_labels(self.config, y, x.shape[0]), check_noise(self.config, noise, self._dtype, x.shape[0])
        return to_bits_per_dim(self.config, self._loaded.log_prob_given_noise(x, y, noise)["log_prob"])

    def classify(self, x: Any, noise: Any) -> tf.Tensor:
        """Class logits [N, n_y], of a model that has a classifier."""
        x = check_images(self.config, x)
        return self._loaded.classify(x, check_noise(self.config, noise, self._dtype, x.shape[0]))["logits"]
