"""Memory that the process keeps: no page faults once every size was there; how much it may have."""

import os
import platform
import resource
import subprocess
import sys

import pytest

from glow_tf.runtime import (
    address_space_limit,
    host_memory_free,
    host_memory_limit,
    keep_freed_memory,
    local_processes,
    resident_memory,
)

PROGRAM = """
import resource
from glow_tf.runtime import keep_freed_memory
keep_freed_memory()
import tensorflow as tf
double = tf.function(lambda x: tf.nn.relu(tf.nn.relu(x) + 1.0) * 2.0, autograph=False)
x = tf.ones([64, 1024, 256])  # 64 MiB, which glibc would map afresh for every use
for _ in range(4):
    double(x).numpy()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    double(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="these are settings of glibc")
def test_large_tensors_cause_no_page_faults():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 10 * 2**26 // 4096 // 100  # one in a hundred of what mapping them takes


PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "max\n"}, PHYSICAL),
        ("0::/slurm/job_7/step_0\n", {"slurm/job_7/memory.max": "1048576\n", "slurm/memory.max": "max\n"}, 2**20),
        ("0::/\n", {"memory.max": f"{2**21}\n"}, 2**21),  # in a container with a name space of its own
        ("1:cpu,memory:/docker/0f3a\n0::/\n", {"memory/memory.limit_in_bytes": f"{2**22}\n"}, 2**22),  # or without
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, PHYSICAL),
        ("4:memory:/a\n", {}, PHYSICAL),
        (None, {}, PHYSICAL),
    ],
)
def test_limits_of_control_groups_count(tmp_path, groups, files, limit):
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
    assert host_memory_limit(tmp_path) == limit


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="these are settings of glibc")
@pytest.mark.parametrize(("cores", "shared"), [(2, True), (96, False)])
def test_threads_of_a_large_machine_do_not_share_an_arena(monkeypatch, cores, shared):
    monkeypatch.setattr(os, "environ", {**os.environ})
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert keep_freed_memory() == shared


def test_what_is_free_is_the_least_of_machine_and_groups(tmp_path):
    for name, text in {
        "proc/meminfo": "MemTotal: 4000 kB\nMemAvailable:  3000 kB\n",
        "proc/self/status": "VmSize:\t 900 kB\nVmRSS:\t 700 kB\n",
        "proc/self/cgroup": "0::/job/step\n",
        "sys/fs/cgroup/job/memory.max": f"{2**21}\n",
        "sys/fs/cgroup/job/memory.current": f"{2**20}\n",
        "sys/fs/cgroup/job/memory.stat": f"anon 7\ninactive_file {2**18}\n",  # given up when it is asked for
        "sys/fs/cgroup/job/step/memory.max": "max\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert host_memory_free(tmp_path) == 2**21 - 2**20 + 2**18
    (tmp_path / "sys/fs/cgroup/job/memory.max").write_text("max\n")
    assert host_memory_free(tmp_path) == 3000 * 1024
    assert resident_memory(tmp_path) == 700 * 1024
    assert resident_memory(tmp_path / "nowhere") == 0


def test_systems_without_such_limits(monkeypatch):
    """Windows has no module `resource`; importing glow_tf must not need it."""
    monkeypatch.setitem(sys.modules, "resource", None)
    assert address_space_limit() is None
    monkeypatch.delattr(os, "sysconf")
    assert host_memory_limit() >= 2**60


def test_address_space_is_a_limit_too(tmp_path, monkeypatch):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("VmSize:\t 900 kB\n")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (10**6, 10**6))
    assert host_memory_free(tmp_path) == 10**6 - 900 * 1024
    monkeypatch.setattr(os, "environ", {**os.environ})
    os.environ.pop("TF_CPU_BFC_MEM_LIMIT_IN_MB", None)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**32, 2**32))
    keep_freed_memory()
    assert int(os.environ["TF_CPU_BFC_MEM_LIMIT_IN_MB"]) <= 4096 - 7 * 256


@pytest.mark.parametrize(
    ("variables", "n"),
    [
        ({}, 1),
        ({"HOROVOD_LOCAL_SIZE": "8"}, 8),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "3"}, 3),
        ({"MPI_LOCALNRANKS": "x"}, 1),
    ],
)
def test_processes_of_the_job_on_this_machine(variables, n):
    assert local_processes(variables) == n
