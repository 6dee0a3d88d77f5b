"""Class labels of a conditional model: checked, and one for every image."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from glow_tf.config import GlowConfig


def as_label(config: GlowConfig, label: Any) -> tf.Tensor | None:
    """`label` as an int32 tensor of any shape, or None; a ValueError where it does not fit the model.

    Where the value is not known while tracing, a label that the model has not is not noticed, as in Glow.
    """
    if label is None:
        return None
    if not config.takes_labels:
        raise ValueError("label: this model is not class-conditional (ycond) and takes no label")
    label = tf.convert_to_tensor(label)
    if not label.dtype.is_integer:
        raise ValueError(f"label must hold whole numbers, not {label.dtype.name}")
    value = tf.get_static_value(label)
    if value is not None and value.size and not (0 <= value.min() and value.max() < config.n_y):
        raise ValueError(
            f"label holds {value.min()} to {value.max()}; this model has the classes 0 to {config.n_y - 1}"
        )
    return tf.cast(label, tf.int32)


def needed_label(config: GlowConfig, label: tf.Tensor | None) -> None:
    """A ValueError where a class-conditional model got no label."""
    if config.takes_labels and label is None:
        raise ValueError(f"this model is class-conditional: give label=, 0 to {config.n_y - 1}, one or one per image")
