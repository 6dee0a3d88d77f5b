"""Workers: one process, or many under Horovod. The only file that imports Horovod, and lazily.

Horovod is used when a launcher (horovodrun, mpirun, mpiexec) started this process together with
others; it announces itself in the environment. A plain `python train.py`, also inside a Slurm
allocation, is one process and needs no Horovod.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from glow_tf.runtime import grow_gpu_memory, is_elastic, launched_by_horovod
from glow_tf.storage.files import StorageError
from glow_tf.training.config import TrainError

# How often Horovod's thread asks the other workers what is ready; its own default is 1. On a CPU that thread takes its
# time from the training: a fifth of a CIFAR-10 step on one core, and about a twentieth with this.
_CPU_CYCLE_MILLISECONDS = "10"


class WorkerLostError(TrainError):
    """Another worker is gone, so that nothing can be shared with it any more."""


class Restorable(Protocol):
    """The state of a run that elastic Horovod keeps; see `ElasticState`."""

    def save(self) -> None:
        """Keeps a copy."""

    def restore(self) -> None:
        """Goes back to the copy."""

    def share(self) -> None:
        """Gives every worker rank 0's copy."""


class Workers:
    """One process: every collective is the identity."""

    rank = 0
    size = 1
    local_rank = 0

    @property
    def is_chief(self) -> bool:
        """Whether this process writes logs, checkpoints and pictures."""
        return self.rank == 0

    def mean(self, tensor: tf.Tensor, name: str, compression: str = "none") -> tf.Tensor:
        """The mean over the workers, on each of them. Inside a tf.function it overlaps other work."""
        return tensor

    def sum(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        """The sum over the workers, on each of them."""
        return tensor

    def largest(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        """Element by element the largest over the workers, on each of them."""
        return tensor

    def broadcast(self, variables: Sequence[tf.Variable]) -> None:
        """Gives every worker the values of rank 0."""

    def broadcast_object(self, value: Any) -> Any:
        """Gives every worker the small JSON value of rank 0."""
        return value

    def any(self, name: str, *, flag: bool) -> bool:
        """Whether the flag is set on any worker."""
        return flag

    @contextlib.contextmanager
    def detecting_lost_workers(self) -> Iterator[None]:
        """Within it, a failure because another worker is gone raises WorkerLostError."""
        yield

    def run_elastic(self, attempt: Callable[[Callable[[], None] | None], Any], state: Restorable) -> Any:
        """What `attempt` returns; where workers may come and go, it is called again after each change.

        Args:
          attempt: is given the function that commits the state of the run, which all workers call at the same step;
            None where workers stay.
          state: what each attempt resumes from.
        """
        return attempt(None)

    def on_chief(self, function: Callable[[], Any]) -> Any:
        """Runs the function on rank 0; all get its JSON value, or a TrainError (StorageError) with its message.

        So that what goes wrong on rank 0 alone, such as a full disk, leaves no other worker waiting.
        """
        value, problem = None, None
        if self.is_chief:
            try:
                value = function()
            except (ValueError, OSError) as error:
                if self.size == 1:
                    raise
                problem = [isinstance(error, (OSError, StorageError)), str(error)]
        value, problem = self.broadcast_object([value, problem])
        if problem is not None:
            raise (StorageError if problem[0] else TrainError)(problem[1])
        return value


class HorovodWorkers(Workers):
    """The workers that Horovod connects."""

    def __init__(self) -> None:
        try:
            hvd = _import_horovod()  # needed under a launcher only
        except ImportError as error:
            raise TrainError(
                "started by horovodrun or mpirun, but Horovod cannot be imported"
                f" ({error}); install it after TensorFlow, as CONTRIBUTING.md says"
            ) from error
        if not tf.config.list_physical_devices("GPU"):
            os.environ.setdefault("HOROVOD_CYCLE_TIME", _CPU_CYCLE_MILLISECONDS)
        hvd.init()
        self._hvd = hvd

    @property
    def rank(self) -> int:  # type: ignore[override]
        """Number of this process, from 0. Elastic jobs change it."""
        return self._hvd.rank()

    @property
    def size(self) -> int:  # type: ignore[override]
        """Number of processes. Elastic jobs change it."""
        return self._hvd.size()

    @property
    def local_rank(self) -> int:  # type: ignore[override]
        """Number of this process on its machine: its GPU."""
        return self._hvd.local_rank()

    def mean(self, tensor: tf.Tensor, name: str, compression: str = "none") -> tf.Tensor:  # noqa: D102
        method = getattr(self._hvd.Compression, compression)
        return self._hvd.allreduce(tensor, name=name, op=self._hvd.Average, compression=method)

    def sum(self, tensor: tf.Tensor, name: str) -> tf.Tensor:  # noqa: D102
        return self._hvd.allreduce(tensor, name=name, op=self._hvd.Sum)

    def largest(self, tensor: tf.Tensor, name: str) -> tf.Tensor:  # noqa: D102
        return self._hvd.allreduce(tensor, name=name, op=self._hvd.Max)

    def any(self, name: str, *, flag: bool) -> bool:  # noqa: D102
        return float(self.sum(tf.constant(float(flag)), name)) > 0

    @contextlib.contextmanager
    def detecting_lost_workers(self) -> Iterator[None]:  # noqa: D102
        rank = self.rank
        try:
            yield
        except Exception as error:
            if not _tells_of_lost_worker(error):
                raise
            raise WorkerLostError(
                f"rank {rank} stops because another one has failed or was killed; what it said, or the launcher"
                " says of it, is the reason. The same command with --resume resumes the run from the last checkpoint"
            ) from None

    def run_elastic(self, attempt: Callable[[Callable[[], None] | None], Any], state: Restorable) -> Any:  # noqa: D102
        if not is_elastic():
            return super().run_elastic(attempt, state)
        from horovod.common.elastic import State
        from horovod.common.exceptions import HorovodInternalError
        from horovod.tensorflow.elastic import run

        @contextlib.contextmanager
        def told_to_horovod() -> Iterator[None]:
            try:
                with self.detecting_lost_workers():
                    yield
            except WorkerLostError as error:
                raise HorovodInternalError(str(error)) from None

        class HorovodState(State):
            """Horovod's name for it, since horovod.tensorflow's own does not share variables in TensorFlow 2."""

            def save(self) -> None:
                state.save()

            def restore(self) -> None:
                state.restore()

            def sync(self) -> None:
                with told_to_horovod():
                    state.share()

        def guarded(shared: Any) -> Any:
            with told_to_horovod():
                return attempt(shared.commit)

        return run(guarded)(HorovodState(self._hvd.broadcast_object, self._hvd.rank))

    def broadcast(self, variables: Sequence[tf.Variable]) -> None:  # noqa: D102
        for index, variable in enumerate(variables):
            variable.assign(self._hvd.broadcast(variable.read_value(), 0, name=f"broadcast/{index}"))

    def broadcast_object(self, value: Any) -> Any:  # noqa: D102
        data = np.frombuffer(json.dumps(value).encode(), np.uint8)
        length = self._hvd.broadcast(tf.constant([len(data)]), 0, name="broadcast_object/length")
        data = data if self.is_chief else np.zeros(int(length[0]), np.uint8)
        received = self._hvd.broadcast(tf.constant(data), 0, name="broadcast_object/data")
        return json.loads(received.numpy().tobytes())


_NEEDS_KERAS = "horovod.tensorflow.sync_batch_norm"


def _import_horovod() -> Any:
    """horovod.tensorflow; without Keras, which takes a second of every rank's start and serves one layer of Horovod's.

    That layer, SyncBatchNormalization, is there when it is used.
    """
    if "horovod.tensorflow" in sys.modules:
        return importlib.import_module("horovod.tensorflow")
    placeholder = types.ModuleType(_NEEDS_KERAS)
    placeholder.SyncBatchNormalization = None  # type: ignore[attr-defined]
    sys.modules[_NEEDS_KERAS] = placeholder
    try:
        hvd: Any = importlib.import_module("horovod.tensorflow")
    finally:
        del sys.modules[_NEEDS_KERAS]
    vars(hvd).pop("SyncBatchNormalization", None)

    def imported_when_used(name: str) -> Any:
        if name != "SyncBatchNormalization":
            raise AttributeError(f"module {hvd.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_NEEDS_KERAS), name)

    hvd.__getattr__ = imported_when_used
    return hvd


# What TensorFlow makes of a collective that failed; a program's own faults are of other kinds.
_FAILED_COLLECTIVE = (tf.errors.UnknownError, tf.errors.InternalError, tf.errors.AbortedError, tf.errors.CancelledError)


def _tells_of_lost_worker(error: BaseException | None) -> bool:
    """Whether a collective failed because another worker is gone: the error itself, or one that it was raised from."""
    from horovod.common.exceptions import HorovodInternalError

    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, HorovodInternalError):
            return True
        # TensorFlow lists the program's files, in an elastic job Horovod's own among them.
        said = "\n".join(line for line in str(error).lower().splitlines() if 'file "' not in line)
        if isinstance(error, _FAILED_COLLECTIVE) and any(word in said for word in ("horovod", "nccl", "gloo")):
            return True
        error = error.__cause__ or error.__context__
    return False


@functools.lru_cache(maxsize=1)
def connect() -> Workers:
    """The workers of this job; joins Horovod at the first call and takes this process's GPU.

    Call it before TensorFlow computes anything, so also before a model is made.

    Raises:
      TrainError: a launcher started this process but Horovod is missing; or TensorFlow has used other GPUs before.
    """
    workers = HorovodWorkers() if launched_by_horovod() else Workers()
    if isinstance(workers, HorovodWorkers):  # an elastic job may have one worker now and more later
        _take_gpu(workers)
    grow_gpu_memory()
    return workers


def _take_gpu(workers: Workers) -> None:
    """Leaves this process nothing but the GPU of its number on this machine."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return
    number = workers.local_rank % len(gpus)
    try:
        tf.config.set_visible_devices(gpus[number], "GPU")
    except RuntimeError:
        raise TrainError(
            f"rank {workers.rank}: TensorFlow uses {len(gpus)} GPUs already, but GPU {number} is this rank's; call"
            " glow_tf.training.connect() before a model is made or anything else is computed"
        ) from None
