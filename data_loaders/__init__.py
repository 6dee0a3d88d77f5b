"""Images for training: one registry of problems, each a DataSet of tf.data batches.

    import data_loaders
    data = data_loaders.load("cifar10", data_dir="...", dal=1)
    for x, y in data.train_batches(64, seed=0).take(1000):   # x uint8 [64, 32, 32, 3], y int32 [64]
        ...

Problems at hand: `digits` (ships with this package), `mnist`, `cifar10`, `folder` (any tree of PNG
and JPEG images), and OpenAI's TFRecords: `imagenet-oord`, `imagenet`, `celeba`, `lsun`,
`lsun_realnvp`.

How to add a problem
--------------------
1. Write a module with a function

       def load(request: Request, *, some_option: int = 0) -> DataSet: ...

   `request` (data_loaders.request.Request) has what every problem is asked for, already checked;
   keyword-only parameters become the problem's options. Raise DataError, naming the file and what
   is allowed, before any work.
2. Give DataSet a train and a test Source (data_loaders.sources): labels, their number, the shape of
   the stored images, and `images`, which turns numbers into images. Small data: ArraySource.
   Shuffling, sharing among ranks, resuming, augmentation and area downsampling then come by
   themselves.
3. Add its line to data_loaders/registry.py, or call `data_loaders.register("name", load)` from
outside. 4. Test it as tests/data_loaders/test_contract.py tests the others: add a line to its
table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from data_loaders.errors import DataError, as_data_errors
from data_loaders.registry import check_problem, load, problems, register
from data_loaders.request import Request

if TYPE_CHECKING:
    from data_loaders.dataset import DataSet

__all__ = ["DataError", "DataSet", "Request", "as_data_errors", "check_problem", "load", "problems", "register"]


def __getattr__(name: str) -> Any:
    """DataSet needs TensorFlow, so it is imported on first use."""
    if name == "DataSet":
        from data_loaders.dataset import DataSet

        return DataSet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
