"""Which TensorFlow the package works with: the range of pyproject.toml, asked before TensorFlow is imported."""

from __future__ import annotations

import re
from importlib import metadata

OLDEST, TOO_NEW = (2, 16), (2, 22)


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
