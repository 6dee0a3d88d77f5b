"""The configuration of a Glow model: typed, validated, JSON both ways.

Names and defaults are those of the flags of OpenAI's train.py (https://github.com/openai/glow).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PERMUTATIONS = ("reverse", "shuffle", "invconv")
COUPLINGS = ("additive", "affine")
CONTEXTS = ("none", "label", "grayscale", "downsampled:N", "left_half")
_FEATURES = 32  # of a context at every level, or as many as the coupling networks have, if those are fewer
_EMBEDDED = 16  # channels of a class's embedding, unless context_channels says another number


class ConfigError(ValueError):
    """A configuration that no model can be built from; the message names the field and what is allowed."""


def _choice(field: str, value: object, names: tuple[str, ...]) -> str:
    """The name for `value`, which is a name or OpenAI's integer for it."""
    if isinstance(value, str) and value in names:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    allowed = ", ".join(f"{i} or {name!r}" for i, name in enumerate(names))
    raise ConfigError(f"{field}={value!r}: allowed are {allowed}")


def _integer(field: str, value: object, at_least: int, at_most: int | None = None) -> None:
    allowed = f"at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{field}={value!r}: must be a whole number {allowed}")
    if value < at_least or (at_most is not None and value > at_most):
        raise ConfigError(f"{field}={value}: must be {allowed}")


def _size(value: object) -> int | tuple[int, int]:
    if isinstance(value, (list, tuple)):
        if len(value) != 2:
            raise ConfigError(f"image_size={value!r}: must be one number or (height, width)")
        for side in value:
            _integer("image_size", side, 1)
        height, width = value
        return height if height == width else (height, width)
    _integer("image_size", value, 1)
    return value  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True)
class GlowConfig:
    """What a Glow model is: everything that decides the shapes of its weights and its likelihood.

    Attributes:
      image_size: side of the images in pixels, or (height, width); both divisible by 2**n_levels.
      n_levels: L of the paper, the number of levels.
      depth: K of the paper, the flow steps of each level.
      width: hidden channels of the coupling networks.
      flow_permutation: 0 "reverse", 1 "shuffle" (fixed), 2 "invconv" (invertible 1x1 convolution).
      flow_coupling: 0 "additive", 1 "affine".
      learntop: the top prior's mean and log-scale are learned.
      n_bits_x: bits per subpixel that are modelled, 1 to 8; lower bits of the images are dropped.
      n_y: number of classes.
      ycond: the top prior depends on the class.
      weight_y: weight of the classification loss (bits); needs ycond.
      lu_decomposed: the 1x1 convolutions are stored as P, L, U, sign_S, log_S (paper section 3.2).
      channels: channels of the images; 1 is grayscale.
      context: what the model is given besides: "none", or only what the caller gives as context=; "label", an embedding
        of the class, given to every coupling network and prior (ycond is the top prior's alone); or an image made of
        the image itself: "grayscale", "downsampled:N" (means of N x N pixels), "left_half".
      context_channels: C of the context [N, H, W, C]; 0 for none. Where `context` says what it is, it says how many.

    Raises:
      ConfigError: a field is out of its range, or two fields contradict each other.

    Source: flags of train.py of OpenAI's code; image_size as (H, W), channels, lu_decomposed and contexts are ours.
    """

    image_size: int | tuple[int, int]
    n_levels: int = 3
    depth: int = 32
    width: int = 512
    flow_permutation: str | int = "invconv"
    flow_coupling: str | int = "additive"
    learntop: bool = False
    n_bits_x: int = 8
    n_y: int = 1
    ycond: bool = False
    weight_y: float = 0.0
    lu_decomposed: bool = False
    channels: int = 3
    context: str = "none"
    context_channels: int = 0

    def __post_init__(self) -> None:
        def settle(field: str, value: object) -> None:
            object.__setattr__(self, field, value)

        settle("image_size", _size(self.image_size))
        settle("flow_permutation", _choice("flow_permutation", self.flow_permutation, PERMUTATIONS))
        settle("flow_coupling", _choice("flow_coupling", self.flow_coupling, COUPLINGS))
        for field in ("depth", "width", "n_y", "channels"):
            _integer(field, getattr(self, field), 1)
        _integer("n_levels", self.n_levels, 1, 16)
        _integer("n_bits_x", self.n_bits_x, 1, 8)
        for field in ("learntop", "ycond", "lu_decomposed"):
            if not isinstance(getattr(self, field), bool):
                raise ConfigError(f"{field}={getattr(self, field)!r}: must be true or false")
        if isinstance(self.weight_y, bool) or not isinstance(self.weight_y, (int, float)):
            raise ConfigError(f"weight_y={self.weight_y!r}: must be a number, 0 or more")
        settle("weight_y", float(self.weight_y))
        _integer("context_channels", self.context_channels, 0)
        self._check_context()
        settle("context_channels", self.context_channels or self._own_context_channels)
        self._check_together()

    def _check_together(self) -> None:
        factor = 2**self.n_levels
        for side in (self.height, self.image_width):
            if side % factor:
                fits = max((n for n in range(17) if side % 2**n == 0), default=0)
                raise ConfigError(
                    f"image_size={self.image_size}, n_levels={self.n_levels}: every level halves the image, so "
                    f"height and width must be divisible by 2**n_levels = {factor}; "
                    f"{side} allows n_levels of at most {fits}"
                )
        if not 0 <= self.weight_y < float("inf"):
            raise ConfigError(f"weight_y={self.weight_y}: must be a number, 0 or more")
        if self.weight_y > 0 and not self.ycond:
            raise ConfigError(f"weight_y={self.weight_y} needs ycond: without it there is no classifier")
        if self.weight_y > 0 and self.context == "label":
            raise ConfigError(f"weight_y={self.weight_y}: with context='label' the classifier would be told the class")
        if self.lu_decomposed and self.flow_permutation != "invconv":
            raise ConfigError(f"lu_decomposed needs flow_permutation 'invconv', not {self.flow_permutation!r}")

    def _check_context(self) -> None:
        kind, colon, factor = self.context.partition(":") if isinstance(self.context, str) else ("", "", "")
        named = kind == "downsampled" and factor.isdecimal() and int(factor) > 1
        if not named and (colon or kind not in CONTEXTS):
            raise ConfigError(f"context={self.context!r}: allowed are {', '.join(CONTEXTS)} (N of at least 2)")
        if self.context_from_image and self.context_channels not in (0, self._own_context_channels):
            raise ConfigError(
                f"context_channels={self.context_channels}: the context {self.context!r} of images with {self.channels}"
                f" channels has {self._own_context_channels}"
            )
        if named and (self.height % int(factor) or self.image_width % int(factor)):
            raise ConfigError(f"context={self.context!r}: height and width, {self.image_size}, must be divisible by it")

    @property
    def _own_context_channels(self) -> int:
        own = {"label": _EMBEDDED, "grayscale": 1, "downsampled": self.channels, "left_half": self.channels + 1}
        return own.get(self.context.partition(":")[0], 0)

    @property
    def context_factor(self) -> int:
        """N of the context "downsampled:N"; 1 for others."""
        return int(self.context.partition(":")[2] or 1)

    @property
    def context_from_image(self) -> bool:
        """Whether the context is made of the image itself."""
        return self.context not in ("none", "label")

    @property
    def context_features(self) -> int:
        """Channels of what every level is given of the context; 0 without one."""
        return min(_FEATURES, self.width) if self.context_channels else 0

    @property
    def context_given(self) -> bool:
        """Whether the model takes a context image: it has one, which is not the class."""
        return self.context_channels > 0 and self.context != "label"

    @property
    def takes_labels(self) -> bool:
        """Whether the model is class-conditional, by ycond or by its context."""
        return self.ycond or self.context == "label"

    @property
    def height(self) -> int:
        """Rows of an image."""
        return self.image_size if isinstance(self.image_size, int) else self.image_size[0]

    @property
    def image_width(self) -> int:
        """Columns of an image (`width` is the coupling networks')."""
        return self.image_size if isinstance(self.image_size, int) else self.image_size[1]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an image."""
        return self.height, self.image_width, self.channels

    @property
    def dimensions(self) -> int:
        """D = H * W * C, the subpixels of an image."""
        return self.height * self.image_width * self.channels

    @property
    def n_bins(self) -> int:
        """Values that a subpixel can take: 2**n_bits_x."""
        return 2**self.n_bits_x

    @property
    def has_classifier(self) -> bool:
        """Whether the model has the classification head (ycond and weight_y > 0, as OpenAI's code)."""
        return self.ycond and self.weight_y > 0

    def level_shape(self, level: int) -> tuple[int, int, int]:
        """(H, W, C) of what the flow steps of `level` (0 is the finest) work on."""
        factor = 2 ** (level + 1)
        return self.height // factor, self.image_width // factor, self.channels * 2 ** (level + 2)

    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """(H, W, C) of every latent, fine to coarse; the last is the top latent."""
        shapes = []
        for level in range(self.n_levels):
            height, width, channels = self.level_shape(level)
            top = level == self.n_levels - 1
            shapes.append((height, width, channels if top else channels // 2))
        return shapes

    def to_dict(self) -> dict[str, Any]:
        """The fields as a plain dict that JSON can hold; those of a context only where the model has one."""
        fields = dataclasses.asdict(self)
        if self.context == "none":
            del fields["context"]  # so that what was made of earlier models' fields, such as fingerprints, still is
        if self.context_channels == self._own_context_channels:
            del fields["context_channels"]
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> GlowConfig:
        """The configuration with these fields.

        Raises:
          ConfigError: a field is unknown, missing or out of its range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        surplus = sorted(set(fields) - known)
        if surplus:
            raise ConfigError(f"unknown field {', '.join(map(repr, surplus))}: known are {', '.join(sorted(known))}")
        if "image_size" not in fields:
            raise ConfigError("image_size is missing")
        return cls(**fields)

    @classmethod
    def from_json(cls, path: str | Path) -> GlowConfig:
        """The configuration that the JSON file at `path` holds.

        Raises:
          ConfigError: the file is no JSON object, or its fields are wrong; the message names the file.
          OSError: the file cannot be read.
        """
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not a JSON file ({error})") from None
        if not isinstance(fields, dict):
            raise ConfigError(f"{path}: must hold a JSON object with the fields of GlowConfig")
        try:
            return cls.from_dict(fields)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
