"""The paper's runs by name, as the command lines in OpenAI's README have them, and a few conditional ones of ours."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from glow_tf.training.config import TrainError


class Preset(NamedTuple):
    """Settings of one of the paper's runs, or of ours; whatever they leave out has its default.

    Attributes:
      about: the run, in words.
      model: fields of GlowConfig.
      train: fields of TrainConfig; `problem` only where this project has the data set by name.
      workers: processes of the paper's run, each with its own batch.
    """

    about: str
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    workers: int


def _preset(about: str, workers: int, train: Mapping[str, Any] | None = None, **model: Any) -> Preset:
    fields = {"flow_permutation": "invconv", "learntop": True, "width": 512, **model}
    settings = {"lr": 0.001, **(train or {})}
    if "gradient_checkpointing" not in settings:
        settings["memory"] = "reversible"
    return Preset(about, MappingProxyType(fields), MappingProxyType(settings), workers)


_DIGITS = {
    "problem": "digits", "anchor_size": 8, "n_train": 1500, "epochs_warmup": 2, "polyak_epochs": 5, "polyak": True,
    "epochs": 30, "epochs_full_valid": 5, "epochs_full_sample": 10,
}  # fmt: skip
_DIGIT = {"image_size": 8, "n_levels": 2, "depth": 16, "width": 128, "n_bits_x": 4, "flow_coupling": "affine"}
_FACES = {"n_batch_train": 16, "epochs_warmup": 1, "polyak": True}
_FACE = {"image_size": 32, "n_levels": 3, "depth": 12, "width": 128, "n_bits_x": 5, "flow_coupling": "affine"}

# Source: README.md of https://github.com/openai/glow; paper, sections 5 and 6 and tables 2 and 4.
# All were run with --gradient_checkpointing 1, OpenAI's default. Here it is spelled out where the model does not
# fit otherwise: the others are reversible, which needs less memory still.
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "cifar10": _preset("CIFAR-10, bits/dim of table 2", 8, {"problem": "cifar10"},
            image_size=32, n_levels=3, depth=32, flow_coupling="affine"),
        "cifar10_conditional": _preset("class-conditional CIFAR-10 samples", 8, {"problem": "cifar10"},
            image_size=32, n_levels=3, depth=32, flow_coupling="additive", n_bits_x=5, ycond=True, weight_y=0.01),
        "imagenet32": _preset("ImageNet 32x32, bits/dim of table 2", 8,
            image_size=32, n_levels=3, depth=48, flow_coupling="affine"),
        "imagenet32_conditional": _preset("class-conditional ImageNet 32x32 samples", 8,
            image_size=32, n_levels=3, depth=48, flow_coupling="additive", n_bits_x=5, ycond=True, weight_y=0.01),
        "imagenet64": _preset("ImageNet 64x64, bits/dim of table 2", 8,
            image_size=64, n_levels=4, depth=48, flow_coupling="affine"),
        "lsun64": _preset("LSUN 64x64 of one category, bits/dim of table 2", 8,
            image_size=64, n_levels=3, depth=48, flow_coupling="affine"),
        "lsun96": _preset("LSUN 96x96 samples", 40,
            image_size=96, n_levels=5, depth=64, flow_coupling="additive", n_bits_x=5),
        "lsun128": _preset("LSUN 128x128 samples", 40,
            image_size=128, n_levels=5, depth=64, flow_coupling="additive", n_bits_x=5),
        "celebahq256": _preset("CelebA-HQ 256x256, the faces of figure 1", 40, {"gradient_checkpointing": 1},
            image_size=256, n_levels=6, depth=32, flow_coupling="additive", n_bits_x=5),
        # Ours: conditional models, small enough for a CPU.
        "digits_label": _preset("digits, the class given to every coupling", 1, _DIGITS, **_DIGIT, context="label"),
        "digits_complete": _preset("digits from their left halves", 1, _DIGITS, **_DIGIT, context="left_half"),
        "cifar10_colour": _preset("CIFAR-10 coloured", 8, {"problem": "cifar10"},
            image_size=32, n_levels=3, depth=32, flow_coupling="affine", context="grayscale"),
        "cifar10_enlarge": _preset("CIFAR-10 enlarged from 8x8", 8, {"problem": "cifar10"},
            image_size=32, n_levels=3, depth=32, flow_coupling="affine", context="downsampled:4"),
        "faces32_colour": _preset("faces coloured, 32x32", 1, _FACES, **_FACE, context="grayscale"),
        "faces32_enlarge": _preset("faces enlarged from 8x8", 1, _FACES, **_FACE, context="downsampled:4"),
    }
)  # fmt: skip


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
      TrainError: there is none.
    """
    if name not in PRESETS:
        raise TrainError(f"preset {name!r} is unknown; there are {', '.join(PRESETS)}")
    return PRESETS[name]
