"""Importing TensorFlow fast, and without the remarks that it writes before its log level counts."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator

_STDERR = 2  # where TensorFlow's C++ writes, whatever sys.stderr is
_KERAS, _KERAS_2 = "TF_USE_LEGACY_KERAS", "tf_keras"


def import_tensorflow() -> None:
    """Imports TensorFlow; what it writes to stderr meanwhile is shown only where the import fails."""
    if "tensorflow" in sys.modules:
        return
    with _no_collections(), _without_keras(), stderr_held_back():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Looking for garbage among a million new objects, none of which is, takes a fifth of the import."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """TensorFlow would import Keras, a second that our programs do not need; used later, `tf.keras` is there.

    It asks for Keras 2 where this variable says so, and does without where that is not to be had.
    """
    if _KERAS in os.environ or _KERAS_2 in sys.modules:
        yield
        return
    os.environ[_KERAS] = "1"
    sys.modules[_KERAS_2] = None  # type: ignore[assignment]  # as Python marks what cannot be imported
    try:
        yield
    finally:
        del os.environ[_KERAS], sys.modules[_KERAS_2]


@contextlib.contextmanager
def stderr_held_back() -> Iterator[None]:
    """Within it what goes to stderr is kept, and shown where an exception ends it: of what says more than it should."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(_STDERR)
    except OSError:  # it is closed: nothing to hold back
        yield
        return
    with tempfile.TemporaryFile() as remarks:
        os.dup2(remarks.fileno(), _STDERR)
        try:
            yield
        except BaseException:
            remarks.seek(0)
            os.write(kept, remarks.read())
            raise
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
