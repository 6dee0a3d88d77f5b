"""Reads the pickled batches of CIFAR-10 without unpickling.

A pickle is a program, and the standard unpickler allocates what it is told to before it looks. So
this is an interpreter of its own for the few operations that such a file needs: dictionaries,
lists, tuples, strings, small integers, None, booleans, and one kind of object, NumPy's array of
bytes. Everything else is refused by name. Memory is bounded by the size of the file and a limit on
the number of operations.

Reads what Python 2 wrote (the published files) and what Python 3 and NumPy of any version write
with protocol 2 to 4.
"""

from __future__ import annotations

import io
import math
import pickletools
from typing import Any

import numpy as np

from data_loaders.errors import DataError
from data_loaders.files import read_bounded

_FILE_LIMIT = 2**26  # the published batches have 31 MB
_MOST_IMAGES = 10000
_MOST_OPERATIONS = 500_000  # a published batch has 40 thousand
_PIXELS = 3 * 32 * 32
_MARK = object()

_VALUES = frozenset(
    "BININT BININT1 BININT2 LONG1 SHORT_BINSTRING BINSTRING BINUNICODE SHORT_BINUNICODE BINBYTES "
    "SHORT_BINBYTES BINBYTES8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_GLOBALS = frozenset(
    [(module, "_reconstruct") for module in _MODULES]
    + [("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")]
)


class _Global:
    """A name that the file mentions; never looked up."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Object:
    """The result of a call that the file asks for; never made."""

    def __init__(self, call: str, arguments: tuple[Any, ...]) -> None:
        self.call, self.arguments = call, arguments
        self.state: Any = ()


def read_batch(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads one batch file.

    Returns:
      Images uint8 [n, 32, 32, 3] and labels uint8 [n].

    Raises:
      DataError: unreadable, no such pickle, or its content does not fit together.
    """
    content = _load(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no dictionary.")
    labels, pixels = content.get("labels"), content.get("data")
    if labels is None or pixels is None:
        hint = " It looks like CIFAR-100." if "fine_labels" in content else ""
        raise DataError(f"{path} has no entries 'data' and 'labels'.{hint}")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label <= 9 for label in labels):
        raise DataError(f"{path}: 'labels' is not a list of classes from 0 to 9.")
    n = len(labels)
    if not 1 <= n <= _MOST_IMAGES:
        raise DataError(f"{path} has {n} labels; expected 1 to {_MOST_IMAGES}.")
    planes = _array(path, pixels, (n, _PIXELS))
    return planes.reshape(n, 3, 32, 32).transpose(0, 2, 3, 1), np.asarray(labels, np.uint8)


def _load(path: str) -> Any:
    data = read_bounded(path, _FILE_LIMIT)
    try:
        return _run(data)
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is not a batch of CIFAR-10 that can be read safely: {error or type(error).__name__}."
        ) from error


def _run(data: bytes) -> Any:
    """Interprets a pickle; strings of either Python come out as str."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    operations: Any = pickletools.genops(io.BytesIO(data))
    for count, (opcode, argument, position) in enumerate(operations):
        name = opcode.name
        if count > _MOST_OPERATIONS:
            raise ValueError(f"more than {_MOST_OPERATIONS} operations")
        if name in _VALUES:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            _operate(name, argument, stack, position)
    raise ValueError("it ends too early")


def _operate(name: str, argument: Any, stack: list[Any], position: int) -> None:
    """The operations on containers and objects."""
    if name == "MARK":
        stack.append(_MARK)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name == "EMPTY_DICT":
        stack.append({})
    elif name == "EMPTY_LIST":
        stack.append([])
    elif name in _TUPLES:
        size = _TUPLES[name]
        stack.append(tuple(stack.pop() for _ in range(size))[::-1])
    elif name == "TUPLE":
        stack.append(tuple(_since_mark(stack)))
    elif name == "APPEND":
        item = stack.pop()
        _top(stack, list).append(item)
    elif name == "APPENDS":
        items = _since_mark(stack)
        _top(stack, list).extend(items)
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        _top(stack, dict)[_key(key)] = value
    elif name == "SETITEMS":
        items = _since_mark(stack)
        _top(stack, dict).update(zip(map(_key, items[::2]), items[1::2], strict=True))
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        if name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
        else:
            module, _, attribute = argument.partition(" ")
        if (module, attribute) not in _GLOBALS:
            raise ValueError(
                f"at byte {position} it asks for {str(module)[:80]}.{str(attribute)[:80]}, which is refused"
            )
        stack.append(_Global(attribute))
    elif name == "REDUCE":
        arguments, function = stack.pop(), stack.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise ValueError(f"at byte {position} it calls something else than NumPy's array")
        stack.append(_bytes(arguments) if function.name == "encode" else _Object(function.name, arguments))
    elif name == "BUILD":
        state = stack.pop()
        _top(stack, _Object).state = state
    else:
        raise ValueError(f"at byte {position} it uses the operation {name}, which is refused")


def _bytes(arguments: tuple[Any, ...]) -> bytes:
    """What Python 3 means where it writes bytes with protocol 2: the call _codecs.encode(text, "latin1")."""
    text, encoding = arguments
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("it has bytes in an unknown encoding")
    return text.encode("latin-1")


def _since_mark(stack: list[Any]) -> list[Any]:
    items: list[Any] = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _top(stack: list[Any], kind: type) -> Any:
    if not isinstance(stack[-1], kind):
        raise ValueError(f"a {kind.__name__.strip('_').lower()} was expected")
    return stack[-1]


def _key(key: Any) -> str:
    if isinstance(key, bytes):
        return key.decode("latin-1")
    if not isinstance(key, str):
        raise ValueError("a key is not a string")
    return key


def _array(path: str, value: Any, shape: tuple[int, int]) -> np.ndarray:
    """The array that a pickled ndarray describes, if it is uint8 of the given shape."""
    try:
        if not isinstance(value, _Object) or value.call != "_reconstruct":
            raise ValueError("it is no NumPy array")
        _, found, dtype, fortran, raw = value.state
        if not isinstance(dtype, _Object) or dtype.call != "dtype" or dtype.arguments[0] != "u1":
            raise ValueError("it is not of type uint8")
        if found != shape or type(found[0]) is not int or fortran not in (False, 0):
            raise ValueError(f"its shape is not {list(shape)}")
        data = raw.encode("latin-1") if isinstance(raw, str) else bytes(memoryview(raw))
        if len(data) != math.prod(shape):
            raise ValueError(f"it has {len(data)} bytes, not {math.prod(shape)}")
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path}: 'data' cannot be used: {error}.") from error
    return np.frombuffer(data, np.uint8).reshape(shape)
