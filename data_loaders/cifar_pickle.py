"""Reads the pickled batches of CIFAR-10 without running what they ask for.

A pickle is a program. So the operations of the file are looked at first: only the few that such a file needs are
allowed, memory is bounded by the size of the file and their number, and no name is looked up: those that NumPy's array
of bytes needs become notes of what was asked for, every other is refused.

Reads what Python 2 wrote (the published files) and what Python 3 and NumPy of any version write with protocol 2 to 4.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np

from data_loaders.bounded import read_bounded
from data_loaders.errors import DataError

_FILE_LIMIT = 2**26  # the published batches have 31 MB
_MOST_IMAGES = 10000
_MOST_OPERATIONS = 500_000  # a published batch has 40 thousand
_MOST_TUPLES = 1000  # a published batch has 8; nested ones would be hashed, and freed, by recursion
_PIXELS = 3 * 32 * 32
_ALLOWED = frozenset(
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 SHORT_BINSTRING BINSTRING BINUNICODE "
    "SHORT_BINUNICODE BINBYTES SHORT_BINBYTES BINBYTES8 BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET EMPTY_DICT "
    "EMPTY_LIST EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 TUPLE APPEND APPENDS SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE "
    "BUILD".split()
)
_NAMES = frozenset(
    [(module, "_reconstruct") for module in ("numpy.core.multiarray", "numpy._core.multiarray")]
    + [("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")]
)


class _Name:
    """A name that the file mentions; calling it notes the call."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        if self.name == "encode":  # how Python 3 writes bytes with protocol 2
            text, encoding = arguments
            if not isinstance(text, str) or encoding != "latin1":
                raise ValueError("it has bytes in an unknown encoding")
            return text.encode("latin-1")
        return _Call(self.name, arguments)


class _Call:
    """A call that the file asks for; never made."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise ValueError(f"it asks for {module[:80]}.{name[:80]}, which is refused")
        return _Name(name)


def read_batch(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads one batch file.

    Returns:
      Images uint8 [n, 32, 32, 3] and labels uint8 [n].

    Raises:
      DataError: unreadable, no such pickle, or its content does not fit together.
    """
    data = read_bounded(path, _FILE_LIMIT)
    try:
        _check_operations(data)
        content = _Unpickler(io.BytesIO(data), encoding="latin-1").load()
    except Exception as error:  # on damaged pickles, nearly anything
        reason = error or type(error).__name__
        raise DataError(f"{path} is not a batch of CIFAR-10 that can be read safely: {reason}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no dictionary, so it is no batch.")
    content = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    labels, pixels = content.get("labels"), content.get("data")
    if labels is None or pixels is None:
        hint = " It looks like CIFAR-100." if "fine_labels" in content else ""
        raise DataError(f"{path} has no entries 'data' and 'labels', so it is no batch.{hint}")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label <= 9 for label in labels):
        raise DataError(f"{path}: 'labels' is not a list of classes from 0 to 9.")
    n = len(labels)
    if not 1 <= n <= _MOST_IMAGES:
        raise DataError(f"{path} has {n} labels; expected 1 to {_MOST_IMAGES}.")
    planes = _array(path, pixels, (n, _PIXELS))
    return planes.reshape(n, 3, 32, 32).transpose(0, 2, 3, 1), np.asarray(labels, np.uint8)


def _check_operations(data: bytes) -> None:
    """Raises ValueError unless all are allowed, few enough, and ask for no memory that the file does not fill."""
    tuples = 0
    operations: Any = pickletools.genops(io.BytesIO(data))
    for count, (opcode, argument, position) in enumerate(operations):
        tuples += opcode.name.startswith("TUPLE")
        if opcode.name not in _ALLOWED:
            raise ValueError(f"at byte {position} it uses the operation {opcode.name}, which is refused")
        if count > _MOST_OPERATIONS or tuples > _MOST_TUPLES:
            raise ValueError(f"more than {_MOST_OPERATIONS} operations or {_MOST_TUPLES} tuples")
        if opcode.name == "LONG_BINPUT" and argument > count:
            raise ValueError(f"at byte {position} it uses memory that nothing fills")


def _array(path: str, value: Any, shape: tuple[int, int]) -> np.ndarray:
    """The array that a pickled ndarray describes, if it is uint8 of the given shape."""
    try:
        if not isinstance(value, _Call) or value.name != "_reconstruct":
            raise ValueError("it is no NumPy array")
        _, found, dtype, fortran, raw = value.state
        if not isinstance(dtype, _Call) or dtype.name != "dtype" or dtype.arguments[0] != "u1":
            raise ValueError("it is not of type uint8")
        if found != shape or type(found[0]) is not int or fortran not in (False, 0):
            raise ValueError(f"its shape is not {list(shape)}")
        data = raw.encode("latin-1") if isinstance(raw, str) else bytes(memoryview(raw))
        if len(data) != math.prod(shape):
            raise ValueError(f"it has {len(data)} bytes, not {math.prod(shape)}")
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path}: 'data' cannot be used: {error}.") from error
    return np.frombuffer(data, np.uint8).reshape(shape)
