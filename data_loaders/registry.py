"""The registry of problems: a name -> the function that loads it.

Loaders are named by "module:function" and imported when they are asked for, so that listing the
problems (for a command line's help, say) imports neither TensorFlow nor Pillow.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from data_loaders.errors import DataError
from data_loaders.request import MAX_SEED, Request

if TYPE_CHECKING:
    from data_loaders.dataset import DataSet

Loader = Callable[..., "DataSet"]
_LOADERS: dict[str, str | Loader] = {
    "digits": "data_loaders.digits:load",
    "mnist": "data_loaders.mnist:load",
    "cifar10": "data_loaders.cifar10:load",
    "folder": "data_loaders.folder:load",
    "tfds": "data_loaders.tfds:load",
    "imagenet-oord": "data_loaders.tfrecords:load",
    "imagenet": "data_loaders.tfrecords:load",
    "celeba": "data_loaders.tfrecords:load",
    "lsun": "data_loaders.tfrecords:load",
    "lsun_realnvp": "data_loaders.tfrecords:load",
}


def register(name: str, loader: str | Loader) -> None:
    """Adds a problem.

    Args:
      name: what users give as `problem`.
      loader: a function (Request, **options) -> DataSet, or its place as "module:function".

    Raises:
      DataError: the name is taken.
    """
    if name in _LOADERS:
        raise DataError(f"There is a problem {name!r} already; registered: {', '.join(_LOADERS)}.")
    _LOADERS[name] = loader


def unregister(name: str) -> None:
    """Takes a registered problem away (for tests and plug-ins)."""
    _loader_of(name)
    del _LOADERS[name]


def problems() -> tuple[str, ...]:
    """The names of the problems, in the order of their registration."""
    return tuple(_LOADERS)


def check_problem(name: str) -> None:
    """Raises DataError unless there is a problem of this name; the message lists them, and the nearest."""
    _loader_of(name)


def _loader_of(name: str) -> str | Loader:
    if name not in _LOADERS and str(name).startswith("tfds:"):
        return _LOADERS["tfds"]
    if name not in _LOADERS:
        near = difflib.get_close_matches(str(name).lower(), _LOADERS, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"Unknown problem {name!r}; there are: {', '.join(_LOADERS)}.{hint}")
    return _LOADERS[name]


def _image_size(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int) and not isinstance(value, bool):
        if value == -1:
            return None
        value = (value, value)
    sides = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(sides) == 2 and all(isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in sides):
        return (sides[0], sides[1])
    raise DataError(f"image_size must be a positive integer, a pair (H, W) of them, or -1; got {value!r}.")


def _check_int(name: str, value: Any, allowed: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise DataError(f"{name} must be {allowed}; got {value!r}.")
    return value


def load(
    problem: str,
    *,
    data_dir: str = "",
    image_size: int | tuple[int, int] | None = -1,
    dal: int = 1,
    category: str = "",
    n_test: int = -1,
    seed: int = 0,
    workers: int | None = None,
    readers: int = 1,
    skip_corrupt: bool = False,
    **options: Any,
) -> DataSet:
    """Loads a problem's data.

    Args:
      problem: one of `problems()`.
      data_dir: where the data is; "" for the problem's default (a download cache, or none).
      image_size: side or (H, W) of the images; -1 or None for the problem's own size.
      dal: data augmentation level: 0 none, 1 standard, 2 extra. What it does is up to the problem.
      category: a sub-set of the data, for the problems that have any.
      n_test: use only the first `n_test` test images; -1 for all.
      seed: default seed of the order and augmentation of the training images. Does not touch the
        train/test split.
      workers: how many images or batches are prepared at once; None lets tf.data decide.
      readers: how many files are read at once, by the problems that read while training.
      skip_corrupt: leave out damaged images, with a warning, instead of raising.
      **options: the problem's own (see its module); unknown ones are an error.

    Returns:
      The DataSet.

    Raises:
      DataError: unknown problem or option, data missing, unreadable or not of the expected form.
    """
    loader = _loader_of(problem)
    request = Request(
        problem=problem,
        data_dir=str(data_dir or ""),
        image_size=None if image_size is None else _image_size(image_size),
        dal=_check_int("dal", dal, "0 (none), 1 (standard) or 2 (extra)", 0, 2),
        category=str(category or ""),
        n_test=None if n_test == -1 else _check_int("n_test", n_test, "a positive integer, or -1 for all", 1, MAX_SEED),
        seed=_check_int("seed", seed, "an integer from 0 to 2**63 - 1", 0, MAX_SEED),
        workers=None if workers is None else _check_int("workers", workers, "a positive integer or None", 1, 4096),
        readers=_check_int("readers", readers, "a positive integer", 1, 4096),
        skip_corrupt=bool(skip_corrupt),
    )
    if isinstance(loader, str):
        module, _, function = loader.partition(":")
        loader = getattr(importlib.import_module(module), function)
    parameters = inspect.signature(loader).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    unknown = [name for name in options if name not in known]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise DataError(
            f"Problem {problem!r} has no option {', '.join(map(repr, unknown))}; "
            f"its options: {', '.join(known) or 'none'}."
        )
    return loader(request, **options)
