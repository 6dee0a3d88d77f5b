"""What images can come from: one module for each format, with a class `Images`, which is a Reader.

A new format is one more line in FORMATS.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Format(NamedTuple):
    """A line of FORMATS: the module, what it reads, and the usual --size (None: it must be given)."""

    module: str
    about: str
    size: int | None


FORMATS = {
    "folder": Format("folder", "a tree of PNG and JPEG files, also ImageNet's", None),
    "lsun": Format("lsun", "LSUN's LMDB folders of one --category", 256),
    "celebahq": Format("celebahq", "CelebA-HQ TFRecords of the progressive-GAN tool", 256),
    "imagenet": Format("imagenet", "ImageNet's TFRecords, train-XXXXX-of-01024 and validation-XXXXX-of-00128", 256),
    "imagenet-oord": Format("imagenet_oord", "PixelRNN's train_64x64 and valid_64x64, zip files or folders", 64),
}


@dataclass(frozen=True)
class Picture:
    """One image.

    Attributes:
      pixels: float32 [H, W, 3] at the largest resolution.
      label: its class.
      attributes: its binary attributes, if there are any.
    """

    pixels: np.ndarray
    label: int = 0
    attributes: Sequence[int] = ()


class Reader:
    """Images that can be had by item, in any process: pickled without open files.

    Args:
      args: those of the command line (data_loaders.generate_tfr.arguments); images are found in `args.source`.

    Raises:
      DataError: the source cannot be used.

    Attributes:
      items: "train" and "validation" -> what `read` takes, for each image, of plain types.
      smallest: the smallest resolution to write where --min_size is not given.
    """

    items: Mapping[str, Sequence[Any]]
    smallest = 4  # as in OpenAI's code

    def __init__(self, args: argparse.Namespace) -> None:
        raise NotImplementedError

    def read(self, item: Any) -> Picture:
        """The image.

        Raises:
          DataError: it cannot be used; the message names it.
        """
        raise NotImplementedError
