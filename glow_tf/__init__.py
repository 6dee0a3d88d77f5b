"""Glow (Kingma & Dhariwal, 2018) in TensorFlow 2, number by number the original's."""

from glow_tf.config import ConfigError, GlowConfig
from glow_tf.latent import flatten_latents, unflatten_latents
from glow_tf.model import Glow

__all__ = ["ConfigError", "Glow", "GlowConfig", "flatten_latents", "unflatten_latents"]
