"""Which GPU a rank takes, where commits go, which errors mean that another rank is gone; jobs are in other files."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import runtime
from glow_tf.training import Trainer, workers
from glow_tf.training.checkpoints import ElasticState
from glow_tf.training.config import TrainError
from glow_tf.training.workers import HorovodWorkers, WorkerLostError
from tests.eagerly import eagerly
from tests.random_weights import random_glow, random_images
from tests.training.jobs import needs_horovod


class Rank(HorovodWorkers):
    """A rank of a job that there is not."""

    def __init__(self, number: int) -> None:
        self.number = number

    rank = property(lambda self: self.number)
    local_rank = property(lambda self: self.number)


@pytest.fixture
def eight_gpus(monkeypatch):
    """What was made visible, on a machine with eight GPUs."""
    taken: list[str] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:{i}" for i in range(8)])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpu, kind: taken.append(gpu))
    return taken


@pytest.mark.parametrize(("rank", "gpu"), [(0, "GPU:0"), (7, "GPU:7"), (9, "GPU:1")])
def test_each_rank_takes_its_own_gpu(eight_gpus, rank, gpu):
    workers._take_gpu(Rank(rank))
    assert eight_gpus == [gpu]


def test_a_model_made_before_does_not_put_every_rank_on_the_first_gpu(eight_gpus, monkeypatch):
    def refuse(gpu, kind):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    with pytest.raises(TrainError, match=r"rank 3: TensorFlow uses 8 GPUs already, but GPU 3 .*training\.connect\(\)"):
        workers._take_gpu(Rank(3))


def caused(error: Exception, by: BaseException) -> Exception:
    error.__cause__ = by
    return error


HVD = "Horovod has been shut down. This was caused by an exception on one of the ranks"
NCCL = "ncclAllReduce failed: unhandled system error"
MESSAGES = (
    (tf.errors.UnknownError(None, None, HVD), True),
    (tf.errors.InternalError(None, None, NCCL), True),
    (tf.errors.AbortedError(None, None, "HorovodAllreduce_gradient was aborted"), True),
    (tf.errors.CancelledError(None, None, "[[{{node HorovodAllreduce_metrics}}]]"), True),
    (caused(ValueError("the batch could not be read"), tf.errors.UnknownError(None, None, HVD)), True),
    (tf.errors.InternalError(None, None, "Blas GEMM launch failed"), False),
    (tf.errors.InternalError(None, None, 'no cuDNN, defined at:\n  File "horovod/common/elastic.py", line 1'), False),
    (tf.errors.InvalidArgumentError(None, None, "HorovodAllreduce: mismatched shapes"), False),
    (caused(ValueError("one"), ValueError("horovod")), False),
    (KeyError("horovod"), False),
)


@needs_horovod
@pytest.mark.parametrize(("error", "lost"), MESSAGES, ids=lambda value: type(value).__name__)
def test_a_lost_rank_is_known_by_its_errors(error, lost):
    with pytest.raises(WorkerLostError if lost else type(error)) as raised, Rank(1).detecting_lost_workers():
        raise error
    assert not lost or str(raised.value).startswith("rank 1 stops because another one has failed or was killed")


@needs_horovod
def test_horovods_own_error_is_one_of_them():
    from horovod.common.exceptions import HorovodInternalError, HostsUpdatedInterrupt

    with pytest.raises(WorkerLostError), Rank(1).detecting_lost_workers():
        raise HorovodInternalError("ncclCommInitRank failed")
    with pytest.raises(HostsUpdatedInterrupt), Rank(1).detecting_lost_workers():  # others come: nothing is lost
        raise HostsUpdatedInterrupt(skip_sync=False)


def on_device(state):
    """Whether the numbers of a commit are tensors; counters are always on the host."""
    return any(tf.is_tensor(copy) for copy in state._committed[1])


def no_room(**tensors):
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@eagerly()
@pytest.mark.parametrize(
    ("spare", "copy", "on_gpu"), [(10**9, tf.raw_ops.DeepCopy, True), (0, no_room, False), (10**9, no_room, False)]
)
def test_commits_stay_on_a_gpu_that_has_room(monkeypatch, spare, copy, on_gpu):
    monkeypatch.setattr(runtime, "spare_gpu_memory", lambda: spare)
    glow = random_glow(channels=1)
    state = ElasticState(workers.Workers(), lambda: Trainer(glow))
    state.trainer, x = Trainer(glow), random_images(glow.config, 2)
    monkeypatch.setattr(tf.raw_ops, "DeepCopy", copy)
    state.save()  # before a step, whose memory is not known yet
    assert not on_device(state)
    state.trainer.step(x)
    state.save()
    assert on_device(state) == on_gpu
    kept = [np.array(variable) for variable in state.trainer.saved_variables()]
    for _ in range(2):  # a copy survives the steps after a restore, too
        state.trainer.step(x)
        state.restore()
        assert state.trainer.state.step == 1
        for variable, value in zip(state.trainer.saved_variables(), kept, strict=True):
            np.testing.assert_array_equal(variable, value)


WITHOUT_KERAS = """
import sys
from data_loaders.tensorflow_import import import_tensorflow
import_tensorflow()
from glow_tf.training import workers
hvd = workers._import_horovod()
print("keras" in sys.modules, callable(hvd.allreduce), hasattr(hvd, "nothing"))
print(hvd.SyncBatchNormalization.__name__, workers._import_horovod() is hvd)
"""


@needs_horovod
def test_horovod_is_imported_without_keras_until_its_layer_is_used():
    result = subprocess.run([sys.executable, "-c", WITHOUT_KERAS], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["False True False", "SyncBatchNormalization True"]
