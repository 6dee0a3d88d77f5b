"""The one exception of this package."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

# How TensorFlow shows an exception of Python code that it called: name, message, traceback.
_WITHIN = re.compile(r"\bDataError: (.*?)\n\s*(?:Traceback \(most recent call last\)|\[\[)", re.DOTALL)


class DataError(ValueError):
    """Data that cannot be used as asked: the message says what, where, and what is allowed."""


@contextlib.contextmanager
def as_data_errors() -> Iterator[None]:
    """Within this context a DataError that was raised inside tf.data is one again, not an error of TensorFlow."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        found = _WITHIN.search(str(error))
        if not found:
            raise
        raise DataError(found[1]) from None
