"""CelebA as it is published: the folder img_align_celeba, list_attr_celeba.txt and list_eval_partition.txt.

The lists lie beside img_align_celeba, or in Anno and Eval beside its folder Img.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

from data_loaders.bounded import first_existing
from data_loaders.errors import DataError
from data_loaders.folder.attributes import read_text
from data_loaders.text import listing, printable

_IMAGES = "img_align_celeba"
_PARTS = {"0": "train", "1": "validation", "2": "test"}


def find_lists(root: str, names: Sequence[str]) -> tuple[str | None, str | None]:
    """The paths of CelebA's attributes and partition, each None where it is not there, or the images are others."""
    root = os.path.abspath(root)
    if os.path.basename(root) == _IMAGES:
        beside = os.path.dirname(root)
    else:
        parts = names[0].split("/")
        if _IMAGES not in parts[:-1]:
            return None, None
        beside = os.path.join(root, *parts[: parts.index(_IMAGES)])
    above = os.path.dirname(beside)
    attributes, partition = (
        first_existing(os.path.join(folder, name) for folder in (beside, os.path.join(above, kind)))
        for kind, name in (("Anno", "list_attr_celeba.txt"), ("Eval", "list_eval_partition.txt"))
    )
    return attributes, partition


def split_officially(names: Sequence[str], partition: str) -> tuple[list[str], list[str]]:
    """Training and test images as the list says; those for validation are for testing if there are no others.

    Args:
      names: of the images; the last part counts.
      partition: path of list_eval_partition.txt.

    Raises:
      DataError: a malformed line, an image that the list does not have, or a part without images.
    """
    shown, part_of = printable(partition), dict[str, str]()
    for number, line in enumerate(read_text(partition).splitlines(), 1):
        name, _, part = line.strip().partition(" ")
        if line.strip() and part.strip() not in _PARTS:
            raise DataError(f"{shown}, line {number}: {line[:60]!r}; expected a file name and 0, 1 or 2.")
        part_of[name] = _PARTS.get(part.strip(), "")
    parts = [part_of.get(name.rpartition("/")[2], "") for name in names]
    unknown = [printable(name) for name, part in zip(names, parts, strict=True) if not part]
    if unknown:
        raise DataError(f"{shown} does not have {len(unknown)} of {len(names)} images:\n{listing(unknown)}")
    tests = "test" if "test" in parts else "validation"
    train, test = ([n for n, part in zip(names, parts, strict=True) if part == kind] for kind in ("train", tests))
    if not train or not test:
        raise DataError(
            f"{shown}: of the {len(names)} images here, {len(train)} are for training, {len(test)} for tests."
        )
    if len(train) + len(test) < len(names):
        left_out = len(names) - len(train) - len(test)
        warnings.warn(f"The {left_out} images that {shown} has for validation are left out.", stacklevel=2)
    return train, test
