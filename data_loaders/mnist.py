"""mnist: 60000 + 10000 handwritten digits, 28x28 padded to 32x32, in Keras' file mnist.npz.

From data_dir (the folder of mnist.npz, or the file), else from Keras' cache, else downloaded into
it as Keras does.

Padding as OpenAI's code: 2 pixels on each side with the minimum of the line. Deviation from the
original, which tiles
the one channel to three equal ones: the images stay [32, 32, 1]. (A density over three copies
spends its capacity on their equality, and its bits/dim count each pixel three times.)

dal 0: none. dal 1 and 2: shifts of up to a tenth of the size, as OpenAI's code.
"""

from __future__ import annotations

import os

import numpy as np

from data_loaders.augment import NO_AUGMENTATION, SHIFTS
from data_loaders.bounded import first_existing
from data_loaders.dataset import DataSet
from data_loaders.download import Download, cache_dir
from data_loaders.errors import DataError
from data_loaders.npz import Array, read_npz
from data_loaders.request import Request
from data_loaders.sources import ArraySource

DOWNLOAD = Download(
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    sha256="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    size=11490434,
)
_INTEGERS = ("uint8", "int32", "int64")
_FORMAT = {
    "x_train": Array((28, 28), ("uint8",), 60000),
    "y_train": Array((), _INTEGERS, 60000),
    "x_test": Array((28, 28), ("uint8",), 10000),
    "y_test": Array((), _INTEGERS, 10000),
}


def load(request: Request) -> DataSet:
    """Loads MNIST."""
    request.refuse_category()
    path = _find(request.data_dir)
    arrays = read_npz(path, _FORMAT)
    sources = {}
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if len(images) != len(labels):
            raise DataError(f"{path}: {len(images)} {split} images but {len(labels)} labels.")
        if labels.min() < 0 or labels.max() > 9:
            raise DataError(f"{path}: y_{split} has labels from {labels.min()} to {labels.max()}; expected 0 to 9.")
        padded = np.pad(images, ((0, 0), (2, 2), (2, 2)), "minimum")[..., None]
        sources[split] = ArraySource(padded, labels)
    return DataSet(
        request,
        sources["train"],
        sources["test"],
        n_y=10,
        augmentation=SHIFTS if request.dal else NO_AUGMENTATION,
        class_names=[str(digit) for digit in range(10)],
    )


def _find(data_dir: str) -> str:
    if not data_dir:
        path = os.path.join(cache_dir(), "mnist.npz")
        return path if os.path.exists(path) else DOWNLOAD.fetch(path)
    path = data_dir if data_dir.endswith(".npz") else os.path.join(data_dir, "mnist.npz")
    found = first_existing([path, os.path.join(data_dir, "mnist", "mnist.npz")])
    if found is None:
        raise DataError(f"There is no mnist.npz in {data_dir}. Without data_dir it is downloaded.")
    return found
