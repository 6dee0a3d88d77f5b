"""The Glow model: a bijection between images and standard-normal latents, and its likelihood (paper, section 3)."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.config import ConfigError, GlowConfig
from glow_tf.flow import quantization
from glow_tf.flow.budget import Demand
from glow_tf.flow.functions import ModelFunctions
from glow_tf.flow.jit import check_jit
from glow_tf.flow.level import FlowLevel
from glow_tf.flow.memory import MEMORY, Memory, check_fits, parse_memory
from glow_tf.flow.multiscale import Encoding, MultiScaleFlow
from glow_tf.flow.room import choose, device_room
from glow_tf.inputs import check_context, check_images, check_labels, check_latents
from glow_tf.interface import ImageModel
from glow_tf.latents.flatten import flatten_latents
from glow_tf.layers.context import ContextEncoder
from glow_tf.layers.conv import ZeroLinear
from glow_tf.layers.prior import TopPrior
from glow_tf.layers.products import Arithmetic
from glow_tf.layers.split import Split

_PRECISIONS = {
    "float32": (tf.float32, Arithmetic(tf.float32)),
    "tf32": (tf.float32, Arithmetic(tf.float32, tf32=True)),
    "bfloat16": (tf.float32, Arithmetic(tf.bfloat16)),
    "float64": (tf.float64, Arithmetic(tf.float64)),
}


class Glow(ImageModel, MultiScaleFlow, tf.Module):
    """A flow of L levels of K steps, with learned priors (paper, section 3 and figure 2b).

    The model is one bijection between continuous images x [N, H, W, C] and L latents eps_i [N, H_i, W_i, C_i] that are
    standard normal under it. Images go in and come out as uint8.

    Args:
      config: a GlowConfig, or a dict of its fields.
      memory: what training keeps for the gradient: "store", "checkpoint" or "reversible"; a number of bytes, such as
        "6GiB", that the process may take with a Trainer: as much as fits in them; "auto": as much as fits into the
        device; or every level's segments (see memory.py).
      precision: "float32"; "tf32" lets GPUs round the operands of the coupling networks' matrix products to TF32 for
        likelihoods and training; "bfloat16" runs the coupling networks' matrix products in bfloat16 for likelihoods and
        training, and all else in float32, also encoding and decoding, which stay exact; "float64" is for checking.
      seed: the initial weights are a function of it.
      jit: whether XLA compiles the levels' loops, once for every batch size; not with precision="float64".

    Raises:
      ConfigError: the configuration is impossible.
      ValueError: memory, precision or jit is unknown, or this TensorFlow has no XLA.

    Source: model.py of OpenAI's code.
    """

    def __init__(
        self,
        config: GlowConfig | Mapping[str, Any],
        memory: Memory | int = "reversible",
        precision: str = "float32",
        seed: int = 0,
        *,
        jit: bool = False,
    ):
        super().__init__(name="glow")
        self.config = config if isinstance(config, GlowConfig) else GlowConfig.from_dict(config)
        if isinstance(memory, int):
            memory = f"{memory}B"
        if not isinstance(memory, Sequence):
            raise ConfigError(f"memory is {memory!r}: a name, a size such as 6GiB, or every level's segments")
        check_fits(parse_memory(memory) if isinstance(memory, str) else memory, self.config.n_levels, self.config.depth)
        if precision not in _PRECISIONS:
            raise ValueError(f"precision={precision!r}: allowed are {', '.join(_PRECISIONS)}")
        check_jit(jit, precision)
        self.memory, self.precision, self.seed, self.jit = memory, precision, seed, jit
        self.dtype, self.compute_dtype = _PRECISIONS[precision]
        config, part = self.config, {"dtype": self.dtype, "seed": seed}
        step: dict[str, Any] = {
            "permutation": config.flow_permutation,
            "coupling": config.flow_coupling,
            "lu_decomposed": config.lu_decomposed,
            "compute_dtype": self.compute_dtype,
            "jit": jit,
        }
        given: dict[str, Any] = {"context_channels": config.context_features}
        channels = [config.level_shape(level)[2] for level in range(config.n_levels)]
        self.levels = [
            FlowLevel(config.depth, c, config.width, name=f"level_{i}", **step, **given, **part)
            for i, c in enumerate(channels)
        ]
        self.splits = [Split(c, name=f"split_{i}", **given, **part) for i, c in enumerate(channels[:-1])]
        n_y = config.n_y if config.ycond else None
        self.prior = TopPrior(channels[-1], learntop=config.learntop, n_y=n_y, name="prior", **given, **part)
        self.classifier = (
            ZeroLinear(channels[-1], config.n_y, name="classifier", **part) if config.has_classifier else None
        )
        self.encoder = None
        if config.context_channels:
            classes = config.n_y if config.context == "label" else None
            sizes = (config.context_channels, given["context_channels"], config.n_levels)
            self.encoder = ContextEncoder(*sizes, n_y=classes, name="context", **part)
        self.initialized = tf.Variable(initial_value=False, trainable=False, name="initialized")
        self._functions: ModelFunctions | None = None
        self._chosen: dict[tuple[str, int], Memory] = {}
        # once, so for the size that it has: known sizes make a smaller graph
        self._traced_initialize = tf.function(self._initialize, autograph=False)

    # Likelihood

    def memory_for(self, batch: int | None) -> Memory:
        """What `memory` comes to for a batch of so many images; of an unknown number, nothing is kept.

        The choice is made once for each size.

        Raises:
          MemoryBudgetError: a training step does not fit.
        """
        asked = self.memory
        if not isinstance(asked, str) or asked in MEMORY:
            return asked
        if not batch:
            return "reversible"
        if (asked, batch) not in self._chosen:
            choice = choose(Demand(self.config, batch, self.precision, waits=True, jit=self.jit), asked, device_room())
            if choice.warning:
                warnings.warn(choice.warning, stacklevel=2)
            self._chosen[asked, batch] = choice.memory
        return self._chosen[asked, batch]

    def losses(
        self,
        x: tf.Tensor,
        y: tf.Tensor | None = None,
        noise: tf.Tensor | None = None,
        memory: Memory | None = None,
        context: Any = None,
    ) -> dict[str, tf.Tensor]:
        """What training minimises, per image.

        Args:
          x: uint8 [N, H, W, C].
          y: int [N], where the model has classes.
          noise: dequantisation noise [N, H, W, C] in [0, 1/n_bins); drawn afresh if None.
          memory: overrides the model's.
          context: as `log_prob`.

        Returns:
          loss = bits_x + weight_y * bits_y; bits_x: bits per subpixel; bits_y: bits of the label (0 without a
          classifier); pred_error: 1 where the classifier is wrong (1 without one); each [N].
        """
        noise = self._noise_for(x, None) if noise is None else noise
        return self.losses_of(x, y, noise, memory or self.memory_for(x.shape[0]), context=context)[0]

    def losses_of(
        self,
        x: tf.Tensor,
        y: tf.Tensor | None,
        noise: tf.Tensor,
        memory: Memory,
        probe: tf.Tensor | None = None,
        context: Any = None,
    ) -> tuple[dict[str, tf.Tensor], Encoding]:
        """(`losses`, the encoding that they came from)."""
        continuous, context = self.continuous(x, noise), self.context_for(x, context)
        encoding = self.to_latents(continuous, y, memory, self.compute_dtype, probe, context)
        bits_x = quantization.to_bits_per_dim(self.config, self.log_prob_of(encoding.eps, encoding.log_det))
        bits_y, pred_error = tf.zeros_like(bits_x), tf.ones_like(bits_x)
        if self.classifier is not None:
            logits = self.logits(encoding.top)
            bits_y = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits) / math.log(2.0)
            pred_error = tf.cast(tf.not_equal(tf.argmax(logits, 1), tf.cast(y, tf.int64)), bits_x.dtype)
        loss = bits_x + self.config.weight_y * bits_y
        return {"loss": loss, "bits_x": bits_x, "bits_y": bits_y, "pred_error": pred_error}, encoding

    # Latents

    def decode_continuous(self, eps: Sequence[Any], y: Any = None, context: Any = None) -> tf.Tensor:
        """The continuous images [N, H, W, C] of L latents, nominally in [-1/2, 1/2), neither rounded nor clipped."""
        latents = check_latents(self.config, eps, self.dtype)
        label = check_labels(self.config, y, latents[0].shape[0])
        context = check_context(self.config, context, self.dtype, latents[0].shape[0])
        return self.functions.from_flat(flatten_latents(latents), label, context)[0]

    # Initialisation and variables

    def initialize(self, x: Any, y: Any = None, noise: Any = None, context: Any = None) -> None:
        """Data-dependent initialisation (paper, section 3.1): every actnorm's output on the batch x is normalised.

        Args and errors as `log_prob`; always in float32 (or float64).
        """
        x = check_images(self.config, x)
        if x.shape[0] == 0:
            raise ValueError("data-dependent initialisation needs at least one image")
        label = check_labels(self.config, y, x.shape[0], needed=self.config.context == "label")
        noise = self._noise_for(x, noise)
        context = self.context_for(x, context)
        self._traced_initialize(x, noise, *([] if self.encoder is None else [label, context]))

    def named_variables(self) -> dict[str, tf.Variable]:
        """Every variable by its name, such as "level_0/actnorm/b"; those of a level hold its K steps."""
        return {variable.name.removesuffix(":0"): variable for variable in self.variables}

    def fingerprint(self) -> str:
        """16 hexadecimal digits of the configuration and all weights: whether latents belong to this very model."""
        sha = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True).encode())
        for name, variable in sorted(self.named_variables().items()):
            sha.update(name.encode())
            sha.update(np.asarray(variable).tobytes())
        return sha.hexdigest()[:16]

    # Behind the public methods of ImageModel

    @property
    def functions(self) -> ModelFunctions:
        """The traced functions that methods, bijectors and distributions of this model share."""
        if self._functions is None or self._functions.model is not self:  # another's, where the model was copied
            self._functions = ModelFunctions(self)
        return self._functions

    def _log_prob(self, images: tf.Tensor, label: tf.Tensor, noise: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        return self.functions.log_prob(images, label, noise, context)

    def _logits(self, images: tf.Tensor, noise: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        return self.functions.logits(images, noise, context)

    def _encode(
        self, images: tf.Tensor, label: tf.Tensor, noise: tf.Tensor | None, context: tf.Tensor | None
    ) -> tf.Tensor:
        x = self.continuous(images, self._middle_or(noise, images))
        return self.functions.to_flat(x, label, context=context)[0]

    def _decode(self, flat: tf.Tensor, label: tf.Tensor, context: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        x, _ = self.functions.from_flat(flat, label, context)
        return quantization.to_uint8(self.config, x), quantization.is_finite(x)

    def _initialize(
        self, x: tf.Tensor, noise: tf.Tensor, label: tf.Tensor | None = None, context: tf.Tensor | None = None
    ) -> None:
        given = self.contexts(context, label)
        self.walk(self.continuous(x, noise), lambda i, z: self.levels[i].initialize(z, given[i]), lambda i, z: z)
        self.initialized.assign(value=True)
