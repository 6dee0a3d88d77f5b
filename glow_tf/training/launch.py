"""Whether a launcher started this process as one of several workers."""

from __future__ import annotations

import os
from collections.abc import Mapping

# What the launchers set: Horovod's own (Gloo), Open MPI, MPICH and Intel MPI, PMIx.
_LAUNCHERS = (
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("PMIX_RANK", "PMIX_SIZE"),
)


def elastic(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether elastic Horovod started this process, whose job's workers may come and go."""
    return environ.get("HOROVOD_ELASTIC") == "1"


def launched_by_horovod(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher started this process as one of several (or as elastic Horovod's)."""
    if elastic(environ):
        return True
    return any(rank in environ and environ.get(size, "2") != "1" for rank, size in _LAUNCHERS)
