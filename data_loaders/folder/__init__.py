"""folder: your own images: any tree of PNG and JPEG files.

Images are cropped at the centre to the aspect of image_size and averaged down to it (rounded to the
nearest level, by Pillow). They have one channel where all files are grayscale, else three. Turned
as their EXIF orientation says; transparent pixels show white; of 16 bits the upper 8 are kept.
image_size may be left out where all have one size.

Training and test images: the folders train/ and test/ (or validation/, valid/, val/) if there are
both, else a hash of each file's relative name decides, so the split is the same in every run, and
stays so when files are added.

Labels: the sub-folders, where all images lie in two or more of them. A file attributes.csv in the
folder or beside it (filename, then -1/1 per attribute) gives DataSet.attributes, and with
`label_attribute` the labels.

CelebA as it is published has its attributes and split from its own lists: see data_loaders.folder.celeba.

Up to 10000 files are decoded before training, and all that cannot be used are reported together, by name; of more, each
when it is first needed, so that training begins at once. What is learned of the files, and where images fit into
`memory_mb` also their pixels, is kept for the next start and for other processes of the machine: see
data_loaders.folder.index and data_loaders.store.

dal 0 and 1: no augmentation, as OpenAI's image folders and records. dal 2: horizontal flips.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np

from data_loaders.augment import FLIPS, NO_AUGMENTATION
from data_loaders.cores import default_workers
from data_loaders.dataset import DataSet
from data_loaders.errors import DataError
from data_loaders.folder.attributes import Attributes, find_attributes, rows_of
from data_loaders.folder.celeba import find_lists, split_officially
from data_loaders.folder.index import FolderIndex
from data_loaders.folder.scan import find_states, folder_classes, split_files
from data_loaders.folder.survey import CHECKS, ReadOptions, survey_files
from data_loaders.lazy import LazySource
from data_loaders.request import Request
from data_loaders.text import printable

_FEW_IMAGES = 100


def load(
    request: Request,
    *,
    attributes_file: str = "",
    label_attribute: str = "",
    labels: str = "auto",
    test_fraction: float = 0.1,
    bad_images: str = "error",
    check: str = "auto",
    memory_mb: int = 1024,
    crop: int = 0,
) -> DataSet:
    """Loads a folder of images.

    Args:
      request: data_dir is the folder; category, if any, a folder inside it.
      attributes_file: the CSV of attributes; "" to look for attributes.csv.
      label_attribute: the attribute that becomes the label, 0 or 1.
      labels: "folders" (an error without two sub-folders), "none", or "auto": folders where there
        are any.
      test_fraction: share of the test images where a hash decides.
      bad_images: "error", or "skip" to warn and go on without them (also with request.skip_corrupt).
      check: what is looked at before training: "decode" every file, only the "headers", or "later", no more than must
        be; "auto" decodes up to 10000 files, and is "later" for more.
      memory_mb: the most mebibytes of decoded images to keep, 0 to keep none.
      crop: side of the square that is cut out of the centre of every image first (of CelebA's, usually 148 or 160).
    """
    _check_choice("labels", labels, ("auto", "folders", "none"))
    _check_choice("bad_images", bad_images, ("error", "skip"))
    _check_choice("check", check, CHECKS)
    if not 0 < test_fraction < 1:
        raise DataError(f"test_fraction must be between 0 and 1; got {test_fraction!r}.")
    if not isinstance(crop, int) or crop < 0:
        raise DataError(f"crop must be a whole number of pixels, or 0 for none; got {crop!r}.")
    if not request.data_dir:
        raise DataError("Problem 'folder' needs data_dir, the folder of your images.")
    root = os.path.join(request.data_dir, request.category)
    index = FolderIndex(root, *find_states(root))
    names = index.names
    celeba_attributes, partition = find_lists(root, names)
    attributes = find_attributes(root, attributes_file or celeba_attributes or "", names)
    skip = request.skip_corrupt or bad_images == "skip"
    workers = request.workers or default_workers()
    options = ReadOptions(request.image_size, crop, check, memory_mb * 2**20, workers, skip=skip)
    files, good = survey_files(index, options)
    used = [names[number] for number in good]
    if partition:
        train, test, told_by = *split_officially(used, partition), "partition"
    else:
        train, test, told_by = split_files(used, test_fraction)
    if len({*train, *test}) < _FEW_IMAGES:
        warnings.warn(
            f"Only {len({*train, *test})} images in {printable(root)}: a model will memorise them.",
            stacklevel=2,
        )
    class_names, classes = _labels(root, [*train, *test], told_by, labels, label_attribute, attributes)
    number_of = {names[number]: number for number in good}
    parts = {"train": (train, classes[: len(train)]), "test": (test, classes[len(train) :])}
    sources = {
        split: LazySource(files, np.asarray([number_of[name] for name in part], np.int64), y)
        for split, (part, y) in parts.items()
    }
    values = None
    if attributes is not None:
        values = {split: rows_of(attributes, root, part) for split, (part, _) in parts.items()}
    return DataSet(
        request,
        sources["train"],
        sources["test"],
        n_y=max(1, len(class_names or ())),
        augmentation=FLIPS if request.dal == 2 else NO_AUGMENTATION,
        class_names=class_names,
        attributes=None if attributes is None else attributes.names,
        attribute_values=values,
        file_names={"train": train, "test": test},
    )


def _labels(
    root: str,
    names: Sequence[str],
    told_by: str,
    labels: str,
    label_attribute: str,
    attributes: Attributes | None,
) -> tuple[tuple[str, ...] | None, np.ndarray]:
    """The names of the classes, or None, and int32 [len(names)]."""
    if label_attribute:
        if attributes is None or label_attribute not in attributes.names:
            there = ", ".join(attributes.names) if attributes else "none (there is no attributes.csv)"
            raise DataError(f"There is no attribute {label_attribute!r}; there are: {there}.")
        column = rows_of(attributes, root, names)[:, attributes.names.index(label_attribute)]
        return (f"not {label_attribute}", label_attribute), (column > 0).astype(np.int32)
    found = None if labels == "none" else folder_classes(names, told_by)
    if found is None and labels == "folders":
        raise DataError(f"labels='folders', but the images in {printable(root)} do not lie in two or more sub-folders.")
    return found or (None, np.zeros(len(names), np.int32))


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise DataError(f"{name} must be one of {', '.join(allowed)}; got {value!r}.")
