"""A training whose rank 1 fails at its third batch: `horovodrun -np 2 python tests/training/failing_rank.py LOGDIR`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import data_loaders
from data_loaders.tensorflow_import import import_tensorflow


class Failing:
    """The digits, which rank 1 cannot read to the end."""

    def __init__(self) -> None:
        self._data = data_loaders.load("digits")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def train_batches(self, batch: int, *, rank: int, **others: Any) -> Any:
        """Two batches on rank 1, endlessly many on the others."""
        batches = iter(self._data.train_batches(batch, rank=rank, **others))
        for _ in range(2):
            yield next(batches)
        if rank == 1:
            raise RuntimeError("the third batch is damaged")
        yield from batches


if __name__ == "__main__":
    import_tensorflow()  # faster than by an import
    from glow_tf.training import train
    from tests.training.common import MODEL, TRAIN

    train(MODEL, {**TRAIN, "logdir": sys.argv[1]}, Failing())
