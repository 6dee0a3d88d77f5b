"""Names of shards: `{split}/{split}-rNN-s-XXXX-of-XXXX.tfrecords`, as OpenAI's.

NN is the base-2 logarithm of the side, rounded down, as in OpenAI's generators: `r06` holds images of 64x64, or
of 96x96 where the data was made at that size.
"""

from __future__ import annotations

import os
import re

from data_loaders.errors import DataError
from data_loaders.text import listing, printable

SPLITS = ("train", "validation")
_SHARD = re.compile(r"(?P<split>.+)-r(?P<level>\d\d)-s-(?P<shard>\d{4,})-of-(?P<shards>\d{4,})\.tfrecords")


def level_of(side: int) -> int:
    """The NN of `rNN` for images of this side."""
    return side.bit_length() - 1


def shard_name(split: str, side: int, shard: int, shards: int) -> str:
    """The file name of a shard, without its folder."""
    return f"{split}-r{level_of(side):02d}-s-{shard:04d}-of-{shards:04d}.tfrecords"


def find_shards(data_dir: str, split: str, side: int) -> list[str]:
    """The paths of all shards of a split at a resolution, in order.

    Raises:
      DataError: no such folder, no shards of this resolution, shards missing (by name), or shards of two data sets.
    """
    folder = os.path.join(data_dir, split)
    try:
        found = [match for name in sorted(os.listdir(folder)) if (match := _SHARD.fullmatch(name))]
    except OSError as error:
        raise DataError(
            f"There is no folder {printable(folder)} ({error.strerror}). data_dir must hold {' and '.join(SPLITS)}, "
            f"each with files such as {SPLITS[0]}/{shard_name(SPLITS[0], side, 0, 8)}."
        ) from error
    found = [match for match in found if match["split"] == split]
    here = [match for match in found if int(match["level"]) == level_of(side)]
    if not here:
        levels = ", ".join(sorted({f"r{match['level']}" for match in found})) or "no shards at all"
        raise DataError(
            f"{printable(folder)} has no {split}-r{level_of(side):02d}-s-XXXX-of-XXXX.tfrecords, the shards of "
            f"{side}x{side} images; there are: {levels}."
        )
    totals = sorted({int(match["shards"]) for match in here})
    if len(totals) > 1:
        raise DataError(
            f"{printable(folder)} has shards -r{level_of(side):02d}- of {len(totals)} data sets: some of "
            f"{' and some of '.join(map(str, totals))}. Keep those of one."
        )
    wanted = [shard_name(split, side, shard, totals[0]) for shard in range(totals[0])]
    there = {match.string for match in here}
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DataError(
            f"{len(missing)} of the {totals[0]} shards in {printable(folder)} are missing:\n{listing(missing)}"
        )
    return [os.path.join(folder, name) for name in wanted]
