"""Checkpoints: everything a run needs to go on exactly, written so that a crash cannot spoil them.

A checkpoint is a folder `<step>-<serial>` of plain files:

    weights.npz     every variable of the model, by name
    optimizer.npz   step counter and moments
    average.npz     Polyak average
    state.json      the counters of TrainState, and which checkpoint was the best one then
    manifest.json   size and SHA-256 of each of the above

It is written under another name, flushed to disk and then renamed, so a checkpoint is there whole or
not at all; the manifest shows later damage. No file holds pickles.

Nothing random has to be kept: the order of the data is a function of (seed, epoch), augmentation of
(seed, position), and noise of (seed, position, rollbacks); all of these are in config.json and state.json.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data_loaders.npz import ArrayFile
from glow_tf.training.config import TrainError
from glow_tf.training.files import WRITING, digest, seal, storing, sync_folder
from glow_tf.training.state import TrainState

KEEP = 2  # the newest ones; the best stays besides
FILES = {"weights.npz", "optimizer.npz", "average.npz", "state.json"}
_DAMAGED = "damaged-"  # prefix of what `restore_latest` passed over
_SHOWN = 8  # names listed in an error
_NAME = re.compile(r"\d+-\d+")
Groups = Mapping[str, Mapping[str, tf.Variable]]


class CheckpointError(TrainError):
    """A checkpoint is damaged or does not fit; the message names the file and what is wrong."""


def save(folder: Path, groups: Groups, state: Mapping[str, Any], *, best: bool = False) -> Path:
    """Writes a checkpoint into `folder` and removes the ones that are no longer needed.

    Args:
      folder: the run's checkpoints/.
      groups: file stem -> variables by name.
      state: JSON values; "step" names the checkpoint, and "best" is not free.
      best: this is the best one so far: it is kept until a better one comes. A checkpoint says itself
        which one is, so that a crash cannot come between the two.

    Returns:
      The checkpoint's folder. The last `KEEP` and the best one stay.

    Raises:
      StorageError: the disk is full or not writable; the checkpoints before are untouched.
    """
    with storing(folder):
        return _save(folder, groups, state, best=best)


def _save(folder: Path, groups: Groups, state: Mapping[str, Any], *, best: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{WRITING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    serial = max((int(c.name.split("-")[1]) for c in list_checkpoints(folder)), default=0) + 1
    final = folder / f"{int(state['step']):09d}-{serial}"
    temporary = folder / f"{WRITING}{final.name}"
    before = best_checkpoint(folder)
    best_name = final.name if best else before.name if before else None
    temporary.mkdir()
    try:
        manifest = {}
        for stem, variables in groups.items():
            manifest[f"{stem}.npz"] = seal(temporary / f"{stem}.npz", variables)
        manifest["state.json"] = seal(temporary / "state.json", {**state, "best": best_name})
        seal(temporary / "manifest.json", manifest)
        sync_folder(temporary)
        temporary.rename(final)
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _prune(folder)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first; none where there is no such folder."""
    found = [c for c in folder.glob("*-*") if _NAME.fullmatch(c.name) and c.is_dir()]
    return sorted(found, key=lambda c: tuple(int(part) for part in c.name.split("-")))


def best_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the best validation, if there is one: the newest readable checkpoint says which."""
    for checkpoint in reversed(list_checkpoints(folder)):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            name = json.loads((checkpoint / "state.json").read_text())["best"]
            found = name is not None and _NAME.fullmatch(name) and (folder / name).is_dir()
            return folder / name if found else None
    return None


def verify(checkpoint: Path) -> None:
    """Raises CheckpointError, naming the file, unless every file is what the manifest says."""
    try:
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        entries = [(name, entry["size"], entry["sha256"]) for name, entry in manifest.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{checkpoint / 'manifest.json'}: unreadable ({error})") from None
    if lacking := FILES - {name for name, _, _ in entries}:
        raise CheckpointError(f"{checkpoint / 'manifest.json'}: does not list {sorted(lacking)}")
    if surplus := {name for name, _, _ in entries} - FILES:
        raise CheckpointError(
            f"{checkpoint / 'manifest.json'}: lists {sorted(surplus)[:_SHOWN]}, no files of a checkpoint"
        )
    for name, size, sha256 in entries:
        path = checkpoint / name
        if not path.is_file():
            raise CheckpointError(f"{path}: missing")
        if path.stat().st_size != size:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes, should be {size}")
        if digest(path) != sha256:
            raise CheckpointError(f"{path}: damaged (its SHA-256 is not the manifest's)")


def restore(checkpoint: Path, groups: Groups) -> dict[str, Any]:
    """Loads a verified checkpoint into the variables and returns its state.

    Raises:
      CheckpointError: damage, or variables that are missing, surplus or of another shape.
    """
    verify(checkpoint)
    for stem, variables in groups.items():
        read_variables(checkpoint / f"{stem}.npz", variables)
    try:
        state = json.loads((checkpoint / "state.json").read_text())
        state.pop("best", None)
        return TrainState.from_dict(state).to_dict()
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{checkpoint / 'state.json'}: not the state of a run ({error})") from None


def restore_latest(folder: Path, groups: Groups, warn: Any = print) -> dict[str, Any] | None:
    """Loads the newest undamaged checkpoint; each damaged one is named to `warn`.

    Damaged ones are then renamed to "damaged-...", out of the way of the run that goes on from an earlier step.

    Returns:
      Its state; None where no checkpoint was ever written.

    Raises:
      CheckpointError: there are checkpoints, but every one is damaged.
    """
    checkpoints = list_checkpoints(folder)
    damaged = []
    for checkpoint in reversed(checkpoints):
        try:
            verify(checkpoint)
        except CheckpointError as error:
            warn(f"checkpoint skipped: {error}")
            damaged.append(checkpoint)
            continue
        state = restore(checkpoint, groups)
        for other in damaged:
            aside = other.with_name(_DAMAGED + other.name)
            shutil.rmtree(aside, ignore_errors=True)
            other.rename(aside)
        return state
    if checkpoints:
        raise CheckpointError(f"{folder}: every checkpoint is damaged")
    return None


def read_variables(path: Path, variables: Mapping[str, tf.Variable]) -> None:
    """Assigns the arrays of an .npz file to the variables of the same names, one at a time.

    Raises:
      CheckpointError: damage, or arrays that are missing, surplus, of another shape or type.
    """
    try:
        with ArrayFile(path) as arrays:
            missing, surplus = sorted(set(variables) - arrays.names), sorted(arrays.names - set(variables))
            if missing or surplus:
                raise CheckpointError(
                    f"{path}: missing {missing[:_SHOWN] or 'nothing'}, surplus {surplus[:_SHOWN] or 'nothing'}"
                )
            for name, variable in variables.items():
                variable.assign(arrays.read(name, functools.partial(_check, path, name, variable)))
    except CheckpointError:
        raise
    except Exception as error:  # zipfile and NumPy raise a dozen kinds for damaged bytes
        raise CheckpointError(f"{path}: damaged ({error})") from None


def _check(path: Path, name: str, variable: tf.Variable, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if shape != tuple(variable.shape) or dtype != variable.dtype.as_numpy_dtype:
        raise CheckpointError(
            f"{path}: {name} is {dtype}{list(shape)}, the model's {variable.dtype.name}{variable.shape.as_list()}"
        )


def _prune(folder: Path) -> None:
    best = best_checkpoint(folder)
    for checkpoint in list_checkpoints(folder)[:-KEEP]:
        if checkpoint != best:
            aside = folder / f"{WRITING}{checkpoint.name}"  # so that a crash leaves no half of a checkpoint
            checkpoint.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
