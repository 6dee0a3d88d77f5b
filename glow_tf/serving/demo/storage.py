"""The folder of what visitors send: how full it is, and who removes what."""

from __future__ import annotations

import os
import time

FORGET_AFTER = 3600  # seconds that what a visitor sent is kept
_LEAST = 2**14  # bytes that a file counts as, be it empty: directories have an end too


def tidy(folder: str) -> int:
    """Bytes of all files in `folder`, after removing those that uploads which broke off have left there an hour ago.

    Such files lie in the folder itself. Whole uploads, each in a folder of its own, are removed by Gradio.
    """
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            try:
                status = os.stat(path)
                if place == folder and time.time() - status.st_mtime > FORGET_AFTER:
                    os.remove(path)
                else:
                    total += max(status.st_size, _LEAST)
            except FileNotFoundError:  # Gradio was quicker
                continue
    return total
