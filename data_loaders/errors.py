"""The one exception of this package."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used as asked: the message says what, where, and what is allowed."""
