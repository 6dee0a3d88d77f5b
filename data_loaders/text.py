"""Names and lists as error messages show them."""

from __future__ import annotations

from collections.abc import Sequence


def printable(name: str) -> str:
    """A file name that can be shown, whatever bytes it has."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\n", "\\n").replace("\x1b", "\\x1b")


def listing(items: Sequence[str], most: int = 20) -> str:
    """The first of many lines, and how many more there are."""
    lines = [f"  {item}" for item in items[:most]]
    if len(items) > most:
        lines.append(f"  ... and {len(items) - most} more")
    return "\n".join(lines)
