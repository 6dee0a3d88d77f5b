"""Shards in parallel processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from data_loaders.errors import DataError
from data_loaders.tensorflow_import import import_tensorflow

if TYPE_CHECKING:
    from data_loaders.generate_tfr.formats import Reader
    from data_loaders.generate_tfr.shards import Shard

_reader: Reader | None = None  # of this worker process


def in_processes(
    reader: Reader, shards: Sequence[Shard], *, skip_corrupt: bool, workers: int
) -> Iterator[tuple[Shard, list[str]]]:
    """Makes shards, `workers` at once.

    Yields:
      Each shard when it is done, with what was left out of it.

    Raises:
      DataError: as make_shard, or a process was killed. What was begun is ended, the rest is not begun.
    """
    # TensorFlow does not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(workers, len(shards)),
        mp_context=context,
        initializer=_begin,
        initargs=(pickle.dumps(reader), os.getpid()),
    )
    try:
        futures = {pool.submit(_make, shard, skip_corrupt): shard for shard in shards}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process was killed, or ran out of memory; the same command goes on (--workers: fewer of them)"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(reader: bytes, parent: int) -> None:
    global _reader
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import_tensorflow()
    _reader = pickle.loads(reader)


def _end_with(parent: int) -> None:
    """Ends this process when its parent is gone: its queue would have it wait for ever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _make(shard: Shard, skip_corrupt: bool) -> list[str]:  # noqa: FBT001  called by the pool only
    from data_loaders.generate_tfr.shards import make_shard  # after TensorFlow

    assert _reader is not None
    return make_shard(_reader, shard, skip_corrupt=skip_corrupt)
