"""A run: what is to be made, what is there already, and processes that make the rest."""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from data_loaders.atomic import WRITING, atomic_write
from data_loaders.errors import DataError
from data_loaders.generate_tfr.formats import FORMATS, Reader
from data_loaders.generate_tfr.pixels import sides
from data_loaders.generate_tfr.pool import in_processes
from data_loaders.generate_tfr.shards import Shard, make_shard
from data_loaders.locks import locked
from data_loaders.progress import Progress
from data_loaders.sampling import permutation
from data_loaders.text import listing, printable
from data_loaders.tfrecords.index import index_records
from data_loaders.tfrecords.naming import SPLITS, find_shards, level_of

_PER_SHARD = {"train": (256, 2048), "validation": (1024, 64)}  # images, and most shards
_ROOM = 1.05  # of the pixels' bytes: framing, labels and attributes


def generate(args: argparse.Namespace) -> None:
    """Makes all shards that are not there yet; `args` as arguments.parse gives them.

    Raises:
      DataError: the source cannot be used, or OUT holds something else.
      OSError: such as a full disk.
    """
    form = FORMATS[args.format]
    reader: Reader = importlib.import_module(f"data_loaders.generate_tfr.formats.{form.module}").Images(args)
    resolutions = sides(args.size, args.min_size or reader.smallest)
    shards = plan(reader, args, resolutions)
    os.makedirs(args.out, exist_ok=True)
    try:
        with locked(os.path.join(args.out, ".generate_tfr.lock"), wait=False):
            problems = _generate(reader, args, resolutions, shards)
    except BlockingIOError as error:
        raise DataError(f"Another run is writing to {printable(args.out)}.") from error
    counts = {split: len(reader.items[split]) for split in SPLITS}
    print(
        f"{counts['train']} training and {counts['validation']} validation images at"
        f" {', '.join(f'{side}x{side}' for side in resolutions)} in {printable(args.out)}"
    )
    if problems:
        print(f"{len(problems)} images were left out:\n{listing(problems)}")


def _generate(reader: Reader, args: argparse.Namespace, resolutions: tuple[int, ...], shards: list[Shard]) -> list[str]:
    """Makes what is not there yet; what was left out, a line for each image."""
    _claim(args.out, resolutions, _settings(reader, args, resolutions, shards))
    pending = [shard for shard in shards if not shard.done]
    _check_room(args.out, pending)
    if len(pending) < len(shards):
        print(f"{len(shards) - len(pending)} of {len(shards)} shards are there already", flush=True)
    problems = _make(reader, pending, args)
    _finish(args.out, resolutions)
    return problems


def plan(reader: Reader, args: argparse.Namespace, resolutions: tuple[int, ...]) -> list[Shard]:
    """Deals the images out to shards.

    Raises:
      DataError: a split is empty, or has fewer images than shards.
    """
    shards = []
    for index, split in enumerate(SPLITS):
        items = reader.items[split]
        per_shard, most = _PER_SHARD[split]
        count = args.shards[index] if args.shards else min(most, max(1, len(items) // per_shard))
        if not 0 < count <= len(items):
            raise DataError(f"There are {len(items)} {split} images, too few for {count} shards.")
        order = permutation(len(items), args.seed, index)
        for number, part in enumerate(np.array_split(order, count)):
            chosen = [items[i] for i in part.tolist()]
            shards.append(Shard(args.out, split, number, count, resolutions, chosen, args.realnvp))
    return shards


def _settings(
    reader: Reader, args: argparse.Namespace, resolutions: tuple[int, ...], shards: list[Shard]
) -> dict[str, Any]:
    """What decides what the shards hold: a run goes on with what another began only where this is the same."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for item in reader.items[split]:
            digest.update(f"{item!r}\n".encode())
    counts = {split: sum(shard.split == split for shard in shards) for split in SPLITS}
    return {
        "format": args.format,
        "realnvp": args.realnvp,
        "resolutions": list(resolutions),
        "seed": args.seed,
        "shards": counts,
        "images": {split: len(reader.items[split]) for split in SPLITS},
        "items": digest.hexdigest(),
    }


def _claim(out: str, resolutions: tuple[int, ...], settings: dict[str, Any]) -> None:
    """Notes what is being made, or sees that it is what was begun here."""
    path = os.path.join(out, f".generate_tfr-r{level_of(resolutions[0]):02d}.json")
    if os.path.exists(path):
        try:
            with open(path) as file:
                begun = dict(json.load(file))
        except (ValueError, TypeError) as error:
            raise DataError(f"{printable(path)} is damaged: delete it and the shards beside it.") from error
        other = [f"{name} is {begun.get(name)} there, {settings[name]} here" for name in settings
                 if begun.get(name) != settings[name]]  # fmt: skip
        if other:
            raise DataError(f"{printable(out)} holds other shards ({'; '.join(other)}). Choose another folder.")
        return
    for split in SPLITS:
        folder = os.path.join(out, split)
        os.makedirs(folder, exist_ok=True)
        stems = tuple(f"{split}-r{level_of(side):02d}-s-" for side in resolutions)
        others = [name for name in sorted(os.listdir(folder)) if name.startswith(stems)]
        if others:
            raise DataError(f"{printable(folder)} holds other shards, such as {others[0]}. Choose another folder.")
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=1))


def _check_room(out: str, pending: list[Shard]) -> None:
    need = _ROOM * sum(len(shard.items) * 3 * side**2 for shard in pending for side in shard.sides)
    free = shutil.disk_usage(out).free
    if need > free:
        raise DataError(f"{printable(out)} has {free / 1e9:.1f} GB left; {need / 1e9:.1f} GB are needed.")


def _make(reader: Reader, pending: list[Shard], args: argparse.Namespace) -> list[str]:
    problems: list[str] = []
    light = copy.copy(reader)  # what every process gets; shards bring their items
    light.items = {}
    made: Iterator[tuple[Shard, list[str]]]
    if args.workers == 1 or len(pending) == 1:
        made = ((shard, make_shard(light, shard, skip_corrupt=args.skip_corrupt)) for shard in pending)
    else:
        made = in_processes(light, pending, skip_corrupt=args.skip_corrupt, workers=args.workers)
    total = sum(len(shard.items) for shard in pending)
    with Progress("writing", total) as progress:
        for shard, bad in made:
            progress.update(len(shard.items))
            problems += bad
    return problems


def _finish(out: str, resolutions: tuple[int, ...]) -> None:
    """All shards are there: finds their records, so that training need not, and clears up after stopped runs."""
    for split in SPLITS:
        for name in os.listdir(os.path.join(out, split)):
            if name.startswith(WRITING):
                os.unlink(os.path.join(out, split, name))
        for side in resolutions:
            index_records(find_shards(out, split, side), balanced=False)
