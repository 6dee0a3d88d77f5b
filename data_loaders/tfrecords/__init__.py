"""imagenet-oord, imagenet, celeba, lsun, lsun_realnvp: OpenAI's TFRecords.

| problem | default size | classes | what OpenAI's code made of it |
|---|---|---|---|
| imagenet-oord | 64 | - | the downsampled ImageNet of PixelRNN, 32x32 and 64x64 |
| imagenet | 256 | 1000 | ImageNet, centre-cropped and averaged down |
| celeba | 256 | - | CelebA-HQ, with 40 attributes |
| lsun | 256 | - | LSUN by category, centre-cropped and averaged down |
| lsun_realnvp | 64 | - | LSUN by category, the shorter side 96; random crops of `image_size` in training |

data_dir holds train/ and validation/, each with shards `train-r05-s-0000-of-0008.tfrecords`; `category` is a folder in
data_dir. Without data_dir it is `$GLOW_DATA/imagenet-oord-tfr` (imagenet-tfr, celeba-reshard-tfr, lsun, lsun_realnvp),
and without GLOW_DATA that is /mnt/host: where OpenAI's code looks. Sides need not be powers of two: r06 may hold 96x96.

All shards must be there, and their framing is checked before any work; each record's checksum and form as it is read.
See data_loaders.tfrecords.dataset for how ranks share the records, and order for how they are shuffled.

dal 0 and 1: no augmentation, as OpenAI's code. dal 2: horizontal flips.
Deviations: OpenAI's code says 1000 classes of imagenet-oord, whose labels are all 0; it crops lsun_realnvp's validation
images anew each time, here each has its own place.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from data_loaders.augment import FLIPS, NO_AUGMENTATION
from data_loaders.errors import DataError
from data_loaders.request import Request
from data_loaders.text import listing, printable
from data_loaders.tfrecords.celeba import ATTRIBUTES
from data_loaders.tfrecords.dataset import RecordDataSet
from data_loaders.tfrecords.examples import Form, parse
from data_loaders.tfrecords.framing import read_record
from data_loaders.tfrecords.index import RecordIndex, index_records
from data_loaders.tfrecords.naming import SPLITS, find_shards
from data_loaders.tfrecords.source import RecordSource

_ROOT = "/mnt/host"
_TRIES = 10  # records at the beginning of a shard in which an image is looked for


@dataclass(frozen=True)
class _Problem:
    """A data set of OpenAI's code: its folder, usual size and number of classes."""

    folder: str
    size: int
    n_y: int = 1
    crop: bool = False
    attributes: tuple[str, ...] = ()


PROBLEMS = {
    "imagenet-oord": _Problem("imagenet-oord-tfr", 64),
    "imagenet": _Problem("imagenet-tfr", 256, n_y=1000),
    "celeba": _Problem("celeba-reshard-tfr", 256, attributes=ATTRIBUTES),
    "lsun": _Problem("lsun", 256),
    "lsun_realnvp": _Problem("lsun_realnvp", 64, crop=True),
}


def load(request: Request) -> RecordDataSet:
    """Loads a problem of TFRecords."""
    problem = PROBLEMS[request.problem]
    size = request.image_size or (problem.size, problem.size)
    if size[0] != size[1]:
        raise DataError(f"Problem {request.problem!r} has square images; got image_size {size[0]}x{size[1]}.")
    root = os.environ.get("GLOW_DATA") or _ROOT
    folder = os.path.join(request.data_dir or os.path.join(root, problem.folder), request.category)
    if not os.path.isdir(folder):
        hint = "" if request.data_dir else " Give data_dir, or the folder around it in the environment as GLOW_DATA."
        raise DataError(f"There is no folder {printable(folder)}.{hint}")
    shards = [find_shards(folder, split, size[0]) for split in SPLITS]
    indices = [index_records(paths, skip_corrupt=request.skip_corrupt) for paths in shards]
    form, record_bytes = _form(indices[0], problem, size[0])
    train, test = (
        RecordSource(
            _check_files(index, form, skip=request.skip_corrupt),
            form,
            record_bytes=record_bytes,
            skip_corrupt=request.skip_corrupt,
            readers=request.readers,
        )
        for index in indices
    )
    return RecordDataSet(
        request,
        train,
        test,
        n_y=problem.n_y,
        augmentation=FLIPS if request.dal == 2 else NO_AUGMENTATION,
        attributes=problem.attributes if form.attributes else None,
    )


def _form(index: RecordIndex, problem: _Problem, side: int) -> tuple[Form, int]:
    """What records must be, by the first one that is a record of an image at all; and how large that is."""
    reasons = []
    for begin, end in zip(index.starts[:-1].tolist(), index.starts[1:].tolist(), strict=True):
        for number in range(begin, min(begin + _TRIES, end)):
            path, offset = index.place(number)
            try:
                record = read_record(path, offset)
                example = parse(record)
            except DataError as error:
                reasons.append(f"{printable(path)}, record at byte {offset}: {error}")
                continue
            attributes = len(problem.attributes) if len(example.attributes) else 0
            return Form((side, side, example.image.shape[2]), problem.n_y, attributes, problem.crop), len(record)
    raise DataError(f"No shard begins with a record of an image:\n{listing(reasons)}")


def _check_files(index: RecordIndex, form: Form, *, skip: bool) -> RecordIndex:
    """Looks at the first record of every file: a shard of something else is found before training."""
    bad: dict[int, str] = {}
    for f, path in enumerate(index.paths):
        if index.starts[f] < index.starts[f + 1]:
            reason = form.problem(read_record(path, 0, check=False))
            if reason:
                bad[f] = f"{printable(path)}, record at byte 0: {reason}"
    if bad and (not skip or len(bad) == len(index.paths)):
        raise DataError(
            f"{len(bad)} of {len(index.paths)} shards cannot be used:\n{listing(list(bad.values()))}"
            + ("" if skip else "\n--skip_corrupt goes on without them.")
        )
    return index.without(bad) if bad else index
