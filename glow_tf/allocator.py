"""The C library's allocator, told to keep what it has.

TensorFlow on CPU asks malloc for every activation. By default glibc maps large blocks afresh and hands freed memory
back to the system, so that each activation of some megabytes costs thousands of page faults, at every use: in a
training step of the CIFAR-10 model at K = 8, 60,000 faults with 16 images and 460,000 with 64. With these settings
there are none from the fourth step on.
"""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h of glibc
_NEVER_TRIM = 2**31 - 1


def keep_freed_memory() -> bool:
    """Makes malloc reuse freed memory for the life of the process; call it before TensorFlow starts.

    Returns:
      Whether it had an effect: it needs glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER_TRIM), (_M_ARENA_MAX, 1))
    return all(mallopt(name, value) == 1 for name, value in settings)
