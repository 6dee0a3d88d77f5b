"""OpenAI's data sets in small, made by generate_tfr out of a few images: where its README's lines look for them.

CIFAR-10 goes to Keras' cache (environment KERAS_HOME), the others go to the folder that GLOW_DATA names.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path

import lmdb
import numpy as np
from PIL import Image

from data_loaders.generate_tfr import arguments
from data_loaders.generate_tfr.run import generate

CATEGORIES = ("bedroom", "church_outdoor", "tower")


def environment(root: Path) -> dict[str, str]:
    """What tells train.py where the data is."""
    return {"GLOW_DATA": str(root / "tfr"), "KERAS_HOME": str(root / "keras")}


def make_all(root: Path, pictures: Sequence[Image.Image], categories: Sequence[str] = CATEGORIES) -> None:
    """Makes every data set of the README's lines, each in the form that its own source has.

    Args:
      root: where to.
      pictures: RGB, 256x256; a quarter of them is for testing.
      categories: of LSUN, all of the same pictures.
    """
    splits = {"train": pictures[: -(-3 * len(pictures) // 4)], "valid": pictures[-(len(pictures) // 4) :]}
    out = root / "tfr"
    _write_files(root / "celeba", splits, 256)
    _generate("folder", root / "celeba", out / "celeba-reshard-tfr", "--size", 256, "--shards", 2, 1)
    _write_files(root / "imagenet", splits, 32, classes=3)
    _generate("folder", root / "imagenet", out / "imagenet-tfr", "--size", 32, "--shards", 2, 1)
    for size in (32, 64):
        for split, chosen in splits.items():
            _write_files(root / "oord", {f"{split}_{size}x{size}": chosen}, size)
        _generate("imagenet-oord", root / "oord", out / "imagenet-oord-tfr", "--size", size, "--shards", 2, 1)
    for category in categories:
        _write_lmdb(root / f"{category}_train_lmdb", splits["train"])
        _write_lmdb(root / f"{category}_val_lmdb", splits["valid"])
        for size in (96, 128):  # in one folder: 96x96 is r06, 128x128 r07
            _generate("lsun", root, out / "lsun", "--category", category, "--size", size, "--min_size", size,
                      "--shards", 2, 1)  # fmt: skip
        _generate("lsun", root, out / "lsun_realnvp", "--category", category, "--realnvp", "--shards", 2, 1)
    _write_cifar10(root / "keras" / "datasets" / "cifar-10-batches-py", pictures)


def _generate(*line: object) -> None:
    generate(arguments.parse([*map(str, line), "--workers", "1"]))


def _write_files(root: Path, splits: dict[str, Sequence[Image.Image]], size: int, classes: int = 0) -> None:
    for split, pictures in splits.items():
        for number, picture in enumerate(pictures):
            folder = root / split / (f"n{number % classes:08}" if classes else "")
            folder.mkdir(parents=True, exist_ok=True)
            picture.resize((size, size), Image.Resampling.BOX).save(folder / f"{number:07}.png")


def _write_lmdb(folder: Path, pictures: Sequence[Image.Image]) -> None:
    with lmdb.open(str(folder), map_size=2**28) as database, database.begin(write=True) as transaction:
        for number, picture in enumerate(pictures):
            stream = io.BytesIO()
            picture.crop((0, 0, 256, 192)).resize((341, 256)).save(stream, "WEBP")  # LSUN's shorter side is 256
            transaction.put(f"{number:040x}".encode(), stream.getvalue())


def _write_cifar10(folder: Path, pictures: Sequence[Image.Image]) -> None:
    folder.mkdir(parents=True)
    small = np.stack([np.asarray(picture.resize((32, 32), Image.Resampling.BOX)) for picture in pictures])
    content = {b"data": small.transpose(0, 3, 1, 2).reshape(-1, 3072), b"labels": [i % 10 for i in range(len(small))]}
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        (folder / name).write_bytes(pickle.dumps(content, 2))
