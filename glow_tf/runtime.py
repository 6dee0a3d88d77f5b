"""A process: its TensorFlow, its launcher, how memory is allocated, what signals do. No TensorFlow at import."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import signal
import threading
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

OLDEST, TOO_NEW = (2, 16), (2, 22)  # of TensorFlow: the range in pyproject.toml
_M_ARENA_MAX = -8  # malloc.h of glibc
_FEW_CORES = 4  # up to so many, threads do not wait for each other in one arena of malloc
# What the launchers set: Horovod's own (Gloo), Open MPI, MPICH and Intel MPI, PMIx.
_LAUNCHERS = (
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("PMIX_RANK", "PMIX_SIZE"),
)
# Processes of the job on this machine: Horovod's own launcher, Open MPI, MPICH and Intel MPI.
_LOCAL_SIZES = ("HOROVOD_LOCAL_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
# Address space for TensorFlow's code, graphs and threads beside its allocator's: 1.5 GiB was seen. What is copied for
# checkpoints grows with the model, and models with the address space: 3/8 of it where that is more.
_OTHER_ADDRESSES = 7 * 2**28


def check_tensorflow() -> None:
    """Raises ImportError, which names both, where the TensorFlow that is installed is outside of the range.

    One that was installed under another name (tensorflow-cpu, a nightly) is not looked at.
    """
    try:
        installed = metadata.version("tensorflow")
    except metadata.PackageNotFoundError:
        return  # none, which Python says itself, or one of another name
    found = re.match(r"(\d+)\.(\d+)", installed)
    if found and not OLDEST <= (int(found[1]), int(found[2])) < TOO_NEW:
        wanted = "tensorflow>={}.{},<{}.{}".format(*OLDEST, *TOO_NEW)
        raise ImportError(f"glow_tf needs {wanted}, but {installed} is installed: pip install '{wanted}'")


def keep_freed_memory() -> bool:
    """Makes TensorFlow reuse freed memory as long as the process lives; call it before importing TensorFlow.

    TensorFlow on CPU asks malloc for every activation. By default glibc maps large blocks afresh and hands freed memory
    back to the system, so that each activation of some megabytes costs thousands of page faults, at every use: in a
    training step of the CIFAR-10 model at K = 8, 60,000 faults with 16 images and 460,000 with 64. So TensorFlow is
    told to use its allocator for GPUs here too, which takes memory in large regions, keeps it, and joins what is free
    again: no faults and 7,000.

    (To let malloc keep everything instead leaves holes: before version 2.38 glibc asks for some bytes more than an
    aligned block has, so that a freed one is too small for the next of its size.)

    Where there are few cores, all threads then share what malloc has, too; on larger machines they would wait for each
    other. TensorFlow's variables TF_CPU_ALLOCATOR_USE_BFC and TF_CPU_BFC_MEM_LIMIT_IN_MB, where they are set, count.

    Returns:
      Whether it had an effect on malloc: that needs glibc and few cores.
    """
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
    limit, addresses = host_memory_limit(), address_space_limit()
    if addresses is not None:  # it asks for regions far larger than what it needs now, and would leave none to others
        limit = min(limit, max(addresses // 4, addresses - max(_OTHER_ADDRESSES, addresses * 3 // 8)))
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(limit // 2**20))  # its own limit is 64 GiB
    if platform.libc_ver()[0] != "glibc" or len(os.sched_getaffinity(0)) > _FEW_CORES:
        return False
    return ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1) == 1


def host_memory_limit(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may have: the machine's, or less where a container or a job sets a limit.

    Both versions of control groups, and every group above this process's, count.

    Args:
      root: where proc and sys are.
    """
    return min([host_memory(), *(limit for limit, _ in _groups(root))])


def host_memory() -> int:
    """Bytes of memory that the machine has."""
    if not hasattr(os, "sysconf"):  # Windows, where nobody asks for a limit
        return 2**63 - 1
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def host_memory_free(root: Path = Path("/")) -> int:
    """Bytes that this process may still take: of the machine, of every control group, and of its address space.

    What is used for the contents of files counts as free where the system gives it up when it is asked for.

    Args:
      root: where proc and sys are.
    """
    free = [limit - used for limit, used in _groups(root)]
    with contextlib.suppress(OSError, KeyError):
        free.append(_kilobytes(root / "proc/meminfo")["MemAvailable"])
    if (addresses := address_space_limit()) is not None:
        with contextlib.suppress(OSError, KeyError):
            free.append(addresses - _kilobytes(root / "proc/self/status")["VmSize"])
    return max(0, min(free, default=host_memory_limit(root)))


def resident_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    with contextlib.suppress(OSError, KeyError):
        return _kilobytes(root / "proc/self/status")["VmRSS"]
    return 0


def address_space_limit() -> int | None:
    """What `ulimit -v` allows, in bytes; None where it is unlimited."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def local_processes(environ: Mapping[str, str] = os.environ) -> int:
    """How many processes of this job the launcher started on this machine."""
    return next((int(environ[name]) for name in _LOCAL_SIZES if environ.get(name, "").isdigit()), 1) or 1


def _kilobytes(path: Path) -> dict[str, int]:
    """The sizes in a file of lines such as "MemAvailable: 17 kB", in bytes."""
    found = re.findall(r"^(\w+):\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    return {name: int(number) * 1024 for name, number in found}


def _groups(root: Path) -> list[tuple[int, int]]:
    """(limit, use that cannot be given up) in bytes of every control group with a limit that this process is in."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # another system than Linux
        return []
    found = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            mounts, files = ["memory"], "total_inactive_file"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        elif not controllers:
            mounts, files, limit, used = ["", "unified"], "inactive_file", "memory.max", "memory.current"
        else:
            continue
        group = Path(path.lstrip("/"))  # as the host has it: in a container there may be the top only
        for mount in mounts:
            for folder in (group, *group.parents):
                top = root / "sys/fs/cgroup" / mount / folder
                with contextlib.suppress(OSError, ValueError):  # no such file; "max"
                    most, taken = int((top / limit).read_text()), 0
                    with contextlib.suppress(OSError, ValueError):
                        statistics = dict(line.split() for line in (top / "memory.stat").read_text().splitlines())
                        taken = int((top / used).read_text()) - int(statistics.get(files, 0))
                    found.append((most, taken))
    return found


def prepare_gpus(*, tf32: bool) -> None:
    """Settles how a process of ours uses GPUs; call it after importing TensorFlow, before anything is computed.

    Memory is taken as it is needed: TensorFlow would take all that is free, though a training may run beside this.

    Args:
      tf32: whether TensorFlow may round float32 products to TF32. From Ampere on it does so unless it is told, and
        exact products then take four times as long (layers/products.py).
    """
    import tensorflow as tf  # needed by those who have it already

    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    grow_gpu_memory()


def grow_gpu_memory() -> None:
    """Lets TensorFlow take its GPUs' memory as it needs it; where it has used them before, what was settled stays."""
    import tensorflow as tf  # needed by those who have it already

    with contextlib.suppress(RuntimeError):
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, enable=True)


def uses_gpu() -> bool:
    """Whether this process computes on a GPU, where starting a kernel takes longer than most of them run."""
    import tensorflow as tf  # needed by those who have it already

    return bool(tf.config.get_visible_devices("GPU"))


def gpu_memory_limit() -> int:
    """Bytes that this process may have of its GPU: what was free when TensorFlow began to use it."""
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.client import pywrap_tf_session
    from tensorflow.python.eager import context

    context.context().ensure_initialized()
    devices = pywrap_tfe.TFE_ContextListDevices(context.context()._handle)  # TensorFlow says the limit nowhere else
    numbers = range(pywrap_tf_session.TF_DeviceListCount(devices))
    gpus = [i for i in numbers if pywrap_tf_session.TF_DeviceListType(devices, i) == "GPU"]
    return pywrap_tf_session.TF_DeviceListMemoryBytes(devices, gpus[0])


def spare_gpu_memory() -> int:
    """Bytes of its GPU that this process has never used so far; 0 without a GPU."""
    import tensorflow as tf  # needed by those who have it already

    if not uses_gpu():
        return 0
    return gpu_memory_limit() - tf.config.experimental.get_memory_info("GPU:0")["peak"]


class SignalHandler:
    """A context in which the first SIGINT or SIGTERM only asks to stop; a second Ctrl-C ends the process at once.

    `exit_code` is what shells and schedulers expect then: 130 after SIGINT, 143 after SIGTERM.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether this process was asked to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """0, or 128 + the signal's number."""
        return 0 if self.signal is None else 128 + self.signal

    def __enter__(self) -> SignalHandler:
        if threading.current_thread() is threading.main_thread():  # others cannot have handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


def is_elastic(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether elastic Horovod started this process, whose job's workers may come and go."""
    return environ.get("HOROVOD_ELASTIC") == "1"


def launched_by_horovod(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher started this process as one of several (or as elastic Horovod's)."""
    if is_elastic(environ):
        return True
    return any(rank in environ and environ.get(size, "2") != "1" for rank, size in _LAUNCHERS)
