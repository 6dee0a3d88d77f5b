"""What the page does with a model. No web framework here, and nothing about a visitor: latents come in and go out."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from glow_tf.flow.contexts import picture_of
from glow_tf.latents.files import Attributes
from glow_tf.latents.flatten import flatten_latents, sample_latents, unflatten_latents

MOST_SAMPLES = 64
MOST_TEMPERATURE = 2.0
MOST_ALPHA = 1.5
MAX_SEED = 2**31 - 1


class Editor:
    """Encodes, moves, blends and samples; one call at a time.

    Every argument may be what a stranger has sent: all are checked.

    Args:
      model: an ExportedModel, or a Glow.
      attributes: directions of this model's latents; None for no sliders.
      names: of the attributes that have a slider.

    Raises:
      ValueError: there is no such attribute.
    """

    def __init__(self, model: Any, attributes: Attributes | None = None, names: Sequence[str] = ()):
        self._model, self.config = model, model.config
        self.names = tuple(names)
        self.label = attributes.label if attributes else 0
        self._directions = np.zeros([0, self.config.dimensions], np.float32)
        if attributes and names:
            self._directions = np.stack([attributes.direction(name) for name in names])
        self._one_at_a_time = threading.Lock()

    def encode(self, image: np.ndarray) -> np.ndarray:
        """The flat latents, float32 [D], of one uint8 image [H, W, C]."""
        with self._one_at_a_time:
            return np.asarray(flatten_latents(self._model.encode(image[None], self._labels(1))))[0]

    def context(self, image: np.ndarray) -> np.ndarray | None:
        """What the model is given of an image [H, W, C]: float32 [H, W, C']; None for a model that is given nothing."""
        context = self._model.context_for(image[None], None)
        return None if context is None else np.asarray(context)[0]

    def shown(self, context: np.ndarray) -> np.ndarray:
        """A context as an image for people, uint8 [H, W, C]."""
        return np.asarray(picture_of(self.config, context[None]))[0]

    def picture(
        self,
        latents: np.ndarray,
        other: np.ndarray | None = None,
        blend: Any = 0,
        alphas: Sequence[Any] = (),
        context: np.ndarray | None = None,
    ) -> np.ndarray:
        """The picture of (1 - blend) * latents + blend * other + sum(alpha_i * direction_i).

        Args:
          latents: [D].
          other: [D]; None for no blending.
          blend: 0 to 1.
          alphas: one for each of `names`.
          context: as `context` has made it, for a model that is given one.

        Returns:
          uint8 [H, W, C].

        Raises:
          ValueError: a number is none, or out of its range.
        """
        if len(alphas) != len(self.names):
            raise ValueError(f"{len(alphas)} attributes; this page has {len(self.names)}")
        steps = [number("attribute", alpha, -MOST_ALPHA, MOST_ALPHA) for alpha in alphas]
        share = np.float32(number("blend", blend, 0, 1))
        flat = latents if other is None else (1 - share) * latents + share * other
        flat = flat + np.asarray(steps, np.float32) @ self._directions
        return self._decode(flat[None], self._labels(1), context)[0]

    def sample(
        self,
        n: Any,
        temperature: Any,
        label: Any = None,
        seed: Any = 0,
        context: np.ndarray | None = None,
        *,
        only: int | None = None,
    ) -> np.ndarray:
        """uint8 [n, H, W, C]; label None means every class in turn. Errors as `picture`.

        With a context, all are answers to it.

        With `only`, that one of them: [1, H, W, C], and no other is decoded.
        """
        n = int(number("number of samples", n, 1, MOST_SAMPLES))
        temperature = number("temperature", temperature, 0, MOST_TEMPERATURE)
        seed = int(number("seed", seed, 0, MAX_SEED))
        labels = np.arange(n, dtype=np.int32) % self.config.n_y
        if label is not None:
            labels[:] = int(number("class", label, 0, self.config.n_y - 1))
        flat = np.asarray(flatten_latents(sample_latents(self.config, n, temperature, seed)))
        chosen = slice(None) if only is None else slice(only, only + 1)
        return self._decode(flat[chosen], labels[chosen], context)

    def _labels(self, n: int) -> np.ndarray:
        return np.full([n], self.label, np.int32)

    def _decode(self, flat: np.ndarray, labels: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        given = None if context is None else np.repeat(context[None], len(flat), 0)
        with self._one_at_a_time:
            return np.asarray(self._model.decode(unflatten_latents(self.config, flat), labels, given))


def number(what: str, value: Any, low: float, high: float) -> float:
    """`value`, or a ValueError if it is not a number from low to high."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not abs(value) <= sys.float_info.max:  # JSON has whole numbers beyond all floats
        raise ValueError(f"{what}: {str(value)[:40]!r} is not a number")
    if not low <= value <= high:
        raise ValueError(f"{what}: {value:g} is not from {low:g} to {high:g}")
    return value
