"""digits: 1797 handwritten digits of 8x8 pixels that ship with this package (see digits.txt).

The grey levels 0..16 become min(16 * level, 255), so that they are 17 distinct values with 8 bits
and, but for the two brightest ones that fall together, 16 with n_bits_x 4.

The first 1500 images are for training and the last 297 for testing, in UCI's order and so by other
hands: the data set lists its writers one after the other. Classes are balanced in both.

Never augmented, whatever dal: at 8x8 a shift by a fraction of a pixel would blur a digit away from
its 17 levels, and one by a whole pixel would cut it off.
"""

from __future__ import annotations

import os

import numpy as np

from data_loaders.dataset import DataSet
from data_loaders.errors import DataError
from data_loaders.npz import Array, read_npz
from data_loaders.request import Request
from data_loaders.sources import ArraySource

N_TRAIN = 1500
_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "digits.npz")
_FORMAT = {"images": Array((8, 8), ("uint8",), 1797), "labels": Array((), ("uint8",), 1797)}


def load(request: Request) -> DataSet:
    """Loads the digits."""
    request.refuse_category()
    if request.data_dir:
        raise DataError(f"Problem 'digits' ships with the package and takes no data_dir; got {request.data_dir!r}.")
    arrays = read_npz(_FILE, _FORMAT)
    images = np.minimum(arrays["images"].astype(np.int32) * 16, 255).astype(np.uint8)[..., None]
    labels = arrays["labels"]
    return DataSet(
        request,
        ArraySource(images[:N_TRAIN], labels[:N_TRAIN]),
        ArraySource(images[N_TRAIN:], labels[N_TRAIN:]),
        n_y=10,
        class_names=[str(digit) for digit in range(10)],
    )
