"""Where this machine keeps what can be made again."""

from __future__ import annotations

import hashlib
import os


def cache_folder(kind: str, about: str) -> str:
    """A folder for what is known of a path: in $XDG_CACHE_HOME, by default ~/.cache; made if need be.

    Args:
      kind: of what is kept, a word.
      about: the path of the data.

    Raises:
      OSError: it cannot be made.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = hashlib.sha256(os.fsencode(os.path.realpath(about))).hexdigest()[:24]
    folder = os.path.join(home, "glow_tf", kind, name)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder
