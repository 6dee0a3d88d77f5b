"""tfds:NAME[/CONFIG][:VERSION]: an image data set that tensorflow_datasets has prepared on this machine.

From data_dir, else $TFDS_DATA_DIR, else ~/tensorflow_datasets; the newest version where none is given. Nothing is
downloaded, and the data set's own code is not needed. Files in the formats tfrecord and array_record are read.

Images become what those of --problem folder become, image_size and crop included; they have one channel where the data
set says so, else three. Labels: its ClassLabel. Training images: the split `train`. Test images: `test`, else
`validation`, else a tenth of `train`, chosen by a hash of each record's number.

dal 0 and 1: no augmentation. dal 2: horizontal flips.
Deviation from tensorflow_datasets: images are turned as their EXIF orientation says.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_loaders.augment import FLIPS, NO_AUGMENTATION
from data_loaders.cores import default_workers
from data_loaders.dataset import DataSet
from data_loaders.errors import DataError
from data_loaders.folder.images import crop_centre, read_upright
from data_loaders.folder.scan import split_files
from data_loaders.lazy import LazyImages, LazySource
from data_loaders.request import Request
from data_loaders.store import PixelStore
from data_loaders.text import printable
from data_loaders.tfrecords.examples import features_of
from data_loaders.tfrecords.records import Records

_NAME = re.compile(r"(?P<name>\w+(/[\w.-]+)?)(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_INFO = "dataset_info.json"
_TEST_FRACTION = 0.1

Read = Callable[[int], tuple[bytes, int]]  # the number of a record -> the image's file and its label


def load(request: Request, *, crop: int = 0, memory_mb: int = 1024) -> DataSet:
    """Loads a data set of tensorflow_datasets.

    Args:
      request: data_dir is tensorflow_datasets' own.
      crop: side of the square that is cut out of the centre of every image first.
      memory_mb: the most mebibytes of decoded images to keep.
    """
    request.refuse_category()
    folder = _find(request)
    info = _info(folder)
    image, label = _features(info, request.problem)
    size, channels = _shape(info.features[image], request, crop)
    names = [split for split in ("train", "test", "validation") if split in info.splits][:2]
    if not names or names[0] != "train":
        raise DataError(f"{request.problem} has no split 'train'; its splits: {', '.join(info.splits) or 'none'}.")
    reads = [_reader(folder, info, split, image, label) for split in names]
    counts = [info.splits[split].num_examples for split in names]
    starts = np.cumsum([0, *counts])

    def read(number: int) -> tuple[bytes, int]:
        part = int(np.searchsorted(starts, number, side="right")) - 1
        return reads[part](number - int(starts[part]))

    def decode(number: int) -> tuple[np.ndarray, int]:
        data, label = read(number)
        return crop_centre(read_upright(io.BytesIO(data), channels), size, crop), label

    def name(number: int) -> str:
        part = int(np.searchsorted(starts, number, side="right")) - 1
        return f"{request.problem}, record {number - starts[part]} of {names[part]}"

    shape, n = (*size, channels), int(starts[-1])
    store = None
    if n * int(np.prod(shape)) <= memory_mb * 2**20:
        store = PixelStore(n, shape, folder, _state(folder, crop))
    workers = request.workers or default_workers()
    images = LazyImages(decode, name, shape, store, workers=workers, skip=request.skip_corrupt)
    train, test = _split(counts)

    def labels(numbers: np.ndarray) -> np.ndarray:
        return np.asarray([read(number)[1] for number in numbers.tolist()], np.int32)

    classes = info.features[label].names if label else None
    return DataSet(
        request,
        *(LazySource(images, part, labels if label else np.zeros(len(part), np.int32)) for part in (train, test)),
        n_y=len(classes) if classes else 1,
        augmentation=FLIPS if request.dal == 2 else NO_AUGMENTATION,
        class_names=classes,
    )


def _find(request: Request) -> str:
    """The folder of the version that is asked for."""
    asked = _NAME.fullmatch(request.problem.partition(":")[2])
    if not asked:
        raise DataError(
            f"Unknown problem {request.problem!r}; expected tfds:NAME, such as tfds:mnist or tfds:mnist:3.0.1."
        )
    root = request.data_dir or os.environ.get("TFDS_DATA_DIR") or os.path.expanduser("~/tensorflow_datasets")
    prepared = [info.parent for depth in ("*/*", "*/*/*") for info in Path(root).glob(f"{depth}/{_INFO}")]
    there = [folder for folder in prepared if folder.parent == Path(root, asked["name"])]
    there = [f for f in there if (f.name == asked["version"] if asked["version"] else _VERSION.fullmatch(f.name))]
    if not there:
        names = sorted(f"{folder.parent.relative_to(root).as_posix()}:{folder.name}" for folder in prepared)
        found = ", ".join(names[:20]) or "none"
        raise DataError(f"{request.problem} is not prepared in {printable(root)}; there are: {found}.")
    return str(max(there, key=lambda folder: [int(part) for part in folder.name.split(".")]))


def _info(folder: str) -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DataError("tfds:... is read with tensorflow_datasets: pip install tensorflow-datasets.") from error
    try:
        return tensorflow_datasets.builder_from_directory(folder).info
    except Exception as error:  # a damaged description raises nearly anything
        raise DataError(f"{printable(folder)} is no data set of tensorflow_datasets: {str(error)[:200]}.") from error


def _features(info: Any, problem: str) -> tuple[str, str]:
    """The names of the image and of the label, "" if there is none.

    Raises:
      DataError: there is no image, or no telling which.
    """
    from tensorflow_datasets import features

    fields = dict(info.features.items()) if isinstance(info.features, features.FeaturesDict) else {}
    preferred = [*(key for key in info.supervised_keys or () if isinstance(key, str)), "image", "label"]

    def of(kind: type) -> list[str]:
        found = [key for key, feature in fields.items() if type(feature) is kind]
        return sorted(found, key=lambda key: preferred.index(key) if key in preferred else len(preferred))

    images, labels = of(features.Image), of(features.ClassLabel)
    if not images:
        raise DataError(f"{problem} has no images; its features: {', '.join(fields) or info.features}.")
    if len(images) > 1 and images[0] not in preferred:
        raise DataError(f"{problem} has several images ({', '.join(images)}), none of which is called 'image'.")
    return images[0], labels[0] if labels else ""


def _shape(feature: Any, request: Request, crop: int) -> tuple[tuple[int, int], int]:
    """The size and channels that images will have."""
    height, width, channels = feature.shape
    if feature.np_dtype != np.uint8:
        raise DataError(f"{request.problem} has images of {feature.np_dtype}; those of uint8 are read.")
    size = request.image_size or ((crop, crop) if crop else (height, width))
    if None in size:
        raise DataError(f"{request.problem} has images of several sizes: give image_size.")
    return size, 1 if channels == 1 else 3


def _reader(folder: str, info: Any, split: str, image: str, label: str) -> Read:
    """What reads the records of a split."""
    form = info.file_format.value if info.file_format else "tfrecord"
    if form == "array_record":
        from tensorflow_datasets import builder_from_directory, decode

        source = builder_from_directory(folder).as_data_source(split, decoders={image: decode.SkipDecoding()})
        lock = threading.Lock()

        def read_array(number: int) -> tuple[bytes, int]:
            with lock:
                record = source[number]
            return record[image], int(record[label]) if label else 0

        return read_array
    if form != "tfrecord":
        raise DataError(f"{printable(folder)} has files in the format {form}; tfrecord and array_record are read.")
    records = Records([os.fspath(path) for path in info.splits[split].filepaths])
    if len(records) != info.splits[split].num_examples:
        raise DataError(
            f"{printable(folder)}: {len(records)} records of {split}; {_INFO} says {info.splits[split].num_examples}."
        )

    def read(number: int) -> tuple[bytes, int]:
        where, record = records.read(number)
        try:
            features = features_of(record)
            (data,) = features[image].bytes_list.value
            return data, int(features[label].int64_list.value[0]) if label else 0
        except (DataError, ValueError, IndexError) as error:
            raise DataError(f"has no {image!r} and {label!r} ({where})") from error

    return read


def _split(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the training and of the test images."""
    if len(counts) == 2:
        return np.arange(counts[0]), np.arange(counts[0], sum(counts))
    train, test, _ = split_files([str(number) for number in range(counts[0])], _TEST_FRACTION)
    return np.asarray(train, np.int64), np.asarray(test, np.int64)


def _state(folder: str, crop: int) -> str:
    """A digest of the files' names, sizes and modification times."""
    files = [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in os.scandir(folder)]
    return hashlib.sha256(f"{crop} {sorted(files)}".encode()).hexdigest()[:24]
