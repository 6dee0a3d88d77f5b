"""Importing TensorFlow without the remarks that it writes before its log level counts."""

from __future__ import annotations

import os
import sys
import tempfile


def import_tensorflow() -> None:
    """Imports TensorFlow; what it writes to stderr meanwhile is shown only where the import fails."""
    try:
        stderr = sys.stderr.fileno()
    except (OSError, ValueError):  # no file (a test's, a notebook's): nothing to hold back
        import tensorflow

        return
    sys.stderr.flush()
    kept = os.dup(stderr)
    with tempfile.TemporaryFile() as remarks:
        os.dup2(remarks.fileno(), stderr)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            remarks.seek(0)
            os.write(kept, remarks.read())
            raise
        finally:
            os.dup2(kept, stderr)
            os.close(kept)
