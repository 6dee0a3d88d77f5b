"""Latents and attribute directions as .npz files: plain arrays, no pickles, and bounded when they are read.

Latents:     latents float32 [N, D] (flat, fine to coarse), names str [N], label int64 [1], model str [1]
Attributes:  names str [A], directions float32 [A, D], n_with and n_without int64 [A], mean float32 [D], label, model

Directions as OpenAI's demo has them (`z_manipulate.npy`) are one array [A, D]; see `read_attributes`.

`label` is the class whose prior the latents refer to (class-conditional models), `model` the fingerprint of the model
that they belong to. No TensorFlow here.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_loaders.errors import DataError
from data_loaders.npz import Array, read_npz
from glow_tf.storage.files import atomic_write

_FILE_LIMIT = 2**33
_COMPRESSION = 4  # at most; ours are not compressed, and latents hardly can be
_TEXT = ("str",)


@dataclasses.dataclass(frozen=True)
class Latents:
    """What a file of latents holds; see the module."""

    latents: np.ndarray
    names: tuple[str, ...]
    label: int
    model: str


@dataclasses.dataclass(frozen=True)
class Attributes:
    """What a file of attribute directions holds; see the module."""

    names: tuple[str, ...]
    directions: np.ndarray
    n_with: np.ndarray
    n_without: np.ndarray
    mean: np.ndarray
    label: int
    model: str

    def direction(self, name: str) -> np.ndarray:
        """The direction of one attribute, float32 [D].

        Raises:
          ValueError: there is no such attribute; the message lists those that are.
        """
        if name not in self.names:
            raise ValueError(f"there is no attribute {name!r}; there are: {', '.join(self.names)}")
        return self.directions[self.names.index(name)]


def write_latents(
    path: Path, batches: Iterable[np.ndarray], names: Sequence[str], dimensions: int, label: int, model: str
) -> None:
    """Writes latents batch by batch, so that one batch is held at a time.

    Args:
      path: of the file; it is replaced once all is written.
      batches: float32 [n, dimensions] each, len(names) rows in all.
      names: of the images.
      dimensions: D.
      label: see the module.
      model: see the module.
    """
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(names), dimensions)}
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open("latents.npy", "w", force_zip64=True) as entry:
            np.lib.format.write_array_header_1_0(entry, header)
            rows = 0
            for batch in batches:
                entry.write(np.ascontiguousarray(batch, "<f4").tobytes())
                rows += len(batch)
        if rows != len(names):
            raise ValueError(f"{rows} latents for {len(names)} names")
        for name, value in {"names": np.array(names), "label": np.array([label]), "model": np.array([model])}.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, value, allow_pickle=False)


def read_latents(path: Path, dimensions: int) -> Latents:
    """Reads latents of a model with so many dimensions.

    Raises:
      DataError: no such file, or it is not of this form.
    """
    most = _most_rows(path, dimensions)
    expected = {
        "latents": Array((dimensions,), ("float32",), most),
        "names": Array((), _TEXT, most),
        "label": Array((), ("int64",), 1),
        "model": Array((), _TEXT, 1),
    }
    held = read_npz(str(path), expected, _FILE_LIMIT)
    if len(held["names"]) != len(held["latents"]):
        raise ValueError(f"{path}: {len(held['latents'])} latents and {len(held['names'])} names")
    _check_finite(path, held["latents"])
    return Latents(held["latents"], _strings(held["names"]), int(held["label"][0]), str(held["model"][0]))


def write_attributes(path: Path, attributes: Attributes) -> None:
    """Writes attribute directions."""
    arrays = dataclasses.asdict(attributes)
    arrays |= {"names": np.array(attributes.names), "label": np.array([attributes.label])}
    arrays |= {"model": np.array([attributes.model])}
    with atomic_write(path) as temporary:
        np.savez(temporary, **arrays)


def read_attributes(path: Path, dimensions: int) -> Attributes:
    """Reads the attribute directions of a model with so many dimensions.

    A .npy file is OpenAI's: directions [A, D], with CelebA's names where there are 40 of them, and numbers elsewhere.
    They are taken as they are; the demo's own program negates those of No_Beard and Young, and makes that of
    Narrow_Eyes 1.2 times as long. Such a file says nothing of the model, whose fingerprint is "" here, nor of the
    numbers of images and their mean, which are 0.

    Raises:
      DataError: no such file, or it is not of this form.
    """
    if path.suffix == ".npy":
        return _read_directions(path, dimensions)
    most = _most_rows(path, dimensions)
    counts = Array((), ("int64",), most)
    expected = {
        "names": Array((), _TEXT, most),
        "directions": Array((dimensions,), ("float32",), most),
        "n_with": counts,
        "n_without": counts,
        "mean": Array((), ("float32",), dimensions),
        "label": Array((), ("int64",), 1),
        "model": Array((), _TEXT, 1),
    }
    held = read_npz(str(path), expected, _FILE_LIMIT)
    lengths = {name: len(held[name]) for name in ("names", "directions", "n_with", "n_without")}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: arrays of different lengths: {lengths}")
    if len(held["mean"]) != dimensions:
        raise ValueError(f"{path}: array 'mean' has {len(held['mean'])} numbers; expected {dimensions}")
    _check_finite(path, held["directions"])
    label, model = int(held.pop("label")[0]), str(held.pop("model")[0])
    return Attributes(_strings(held.pop("names")), label=label, model=model, **held)


def _read_directions(path: Path, dimensions: int) -> Attributes:
    from data_loaders.tfrecords.celeba import ATTRIBUTES as CELEBA  # its package imports TensorFlow

    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)  # the shape is checked before anything is read
        if stored.ndim != 2 or stored.shape[1] != dimensions or stored.dtype.kind != "f":
            raise DataError(f"{path}: {stored.dtype} of shape {list(stored.shape)}; expected float [n, {dimensions}]")
        directions = np.array(stored, np.float32)
    except (ValueError, EOFError, OSError) as error:
        raise error if isinstance(error, DataError) else DataError(f"{path}: not a .npy file ({error})") from None
    _check_finite(path, directions)
    n = len(directions)
    names = CELEBA if n == len(CELEBA) else tuple(map(str, range(n)))
    unknown = np.zeros([n], np.int64)
    return Attributes(names, directions, unknown, unknown, np.zeros([dimensions], np.float32), label=0, model="")


def _most_rows(path: Path, dimensions: int) -> int:
    """More rows of float32 than this do not fit into the file, so a header that claims them lies."""
    size = path.stat().st_size if path.is_file() else 0
    return max(1, _COMPRESSION * size // (4 * dimensions))


def _strings(array: np.ndarray) -> tuple[str, ...]:
    return tuple(str(text) for text in array)


def _check_finite(path: Path, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: it holds numbers that are not finite")
