"""Memory that was used is kept and used again, on processors as on a GPU.

TensorFlow on CPU asks malloc for every activation. By default glibc maps large blocks afresh and hands freed memory
back to the system, so that each activation of some megabytes costs thousands of page faults, at every use: in a
training step of the CIFAR-10 model at K = 8, 60,000 faults with 16 images and 460,000 with 64. So TensorFlow is told to
use its allocator for GPUs here too, which takes memory in large regions, keeps it, and joins what is free again: no
faults and 7,000.

(To let malloc keep everything instead leaves holes: before version 2.38 glibc asks for some bytes more than an aligned
block has, so that a freed one is too small for the next of its size.)
"""

from __future__ import annotations

import ctypes
import os
import platform

_M_ARENA_MAX = -8  # malloc.h of glibc


def keep_freed_memory() -> bool:
    """Makes TensorFlow reuse freed memory as long as the process lives; call it before importing TensorFlow.

    All threads then share what malloc has, too. TensorFlow's variables TF_CPU_ALLOCATOR_USE_BFC and
    TF_CPU_BFC_MEM_LIMIT_IN_MB, where they are set, count.

    Returns:
      Whether it had an effect on malloc: that needs glibc.
    """
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(physical // 2**20))  # its own limit is 64 GiB
    if platform.libc_ver()[0] != "glibc":
        return False
    return ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1) == 1
