"""Glow (Kingma & Dhariwal, 2018) in TensorFlow 2, number by number the original's."""

from glow_tf.config import ConfigError, GlowConfig
from glow_tf.latent import flatten_latents, unflatten_latents
from glow_tf.model import Glow
from glow_tf.openai import CheckpointError, load_openai_checkpoint
from glow_tf.saving import SavedModelError, load, save

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Glow",
    "GlowConfig",
    "SavedModelError",
    "flatten_latents",
    "load",
    "load_openai_checkpoint",
    "save",
    "unflatten_latents",
]
