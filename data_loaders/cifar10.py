"""cifar10: 50000 + 10000 photographs, 32x32x3, ten classes; python layout `cifar-10-batches-py`.

From data_dir (that folder, or the one around it), else from Keras' cache, else downloaded into it
as Keras does. Batches with fewer than 10000 images are fine.

dal 0: none. dal 1: shifts of up to a tenth of the size. dal 2: also horizontal flips, rotation by
up to 15 degrees, zoom of rows and columns by up to 0.1, shear by up to 0.02 degrees; all as the
original.
"""

from __future__ import annotations

import os

import numpy as np

from data_loaders.augment import EXTRA, NO_AUGMENTATION, SHIFTS
from data_loaders.bounded import first_existing
from data_loaders.cifar_pickle import read_batch
from data_loaders.dataset import DataSet
from data_loaders.download import Download, cache_dir
from data_loaders.errors import DataError
from data_loaders.extract import extract_files
from data_loaders.locks import locked
from data_loaders.request import Request
from data_loaders.sources import ArraySource

DOWNLOAD = Download(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    size=170498071,
)
CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_FOLDER = "cifar-10-batches-py"
_TRAIN_FILES = tuple(f"data_batch_{i}" for i in range(1, 6))
_TEST_FILE = "test_batch"
_AUGMENTATIONS = (NO_AUGMENTATION, SHIFTS, EXTRA)


def load(request: Request) -> DataSet:
    """Loads CIFAR-10."""
    request.refuse_category()
    folder = _find(request.data_dir)
    missing = [name for name in (*_TRAIN_FILES, _TEST_FILE) if not os.path.exists(os.path.join(folder, name))]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}.")
    batches = [read_batch(os.path.join(folder, name)) for name in _TRAIN_FILES]
    test_images, test_labels = read_batch(os.path.join(folder, _TEST_FILE))
    return DataSet(
        request,
        ArraySource(
            np.concatenate([images for images, _ in batches]),
            np.concatenate([y for _, y in batches]),
        ),
        ArraySource(test_images, test_labels),
        n_y=10,
        augmentation=_AUGMENTATIONS[request.dal],
        class_names=CLASS_NAMES,
    )


def _find(data_dir: str) -> str:
    """The folder of the batches."""
    if data_dir:
        places = (os.path.join(data_dir, _FOLDER), os.path.join(data_dir, "cifar10", _FOLDER))
        found = first_existing(places)
        if found is None and os.path.exists(os.path.join(data_dir, _TRAIN_FILES[0])):
            found = data_dir
        if found is None:
            raise DataError(f"There is no {_FOLDER} in {data_dir}. Without data_dir it is downloaded.")
        return found
    cache = cache_dir()
    keras3 = os.path.join(cache, f"{_FOLDER}-target")
    found = first_existing([os.path.join(keras3, _FOLDER), os.path.join(cache, _FOLDER)])
    return found or _download(cache)


def _download(cache: str) -> str:
    """Downloads and unpacks into the cache, where Keras finds it as well."""
    archive = DOWNLOAD.fetch(os.path.join(cache, f"{_FOLDER}.tar.gz"))
    folder = os.path.join(cache, _FOLDER)
    with locked(folder + ".lock"):
        if not os.path.exists(folder):
            names = [f"{_FOLDER}/{name}" for name in (*_TRAIN_FILES, _TEST_FILE, "batches.meta")]
            extract_files(archive, names, folder, limit=2**26)
    return folder
