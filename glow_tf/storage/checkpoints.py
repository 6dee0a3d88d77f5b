"""Checkpoints: folders with everything that a run resumes from, written so that a crash cannot corrupt them.

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
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tensorflow as tf

from glow_tf.storage.files import WRITING, storage_errors, sync_folder
from glow_tf.storage.variables import read_variables, write_variables

KEEP = 2  # the newest ones; the best stays besides
FILES = {"weights.npz", "optimizer.npz", "average.npz", "state.json"}
_DAMAGED = "damaged-"  # prefix of what `restore_latest` passed over
_SHOWN = 8  # names listed in an error
_NAME = re.compile(r"\d+-\d+")
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)  # what hostile JSON raises
Groups = Mapping[str, Mapping[str, tf.Variable]]  # file stem -> variables by name
State = TypeVar("State")


class CheckpointError(ValueError):
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
    with storage_errors(folder):
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
            contents = {f"{stem}.npz": variables for stem, variables in groups.items()}
            contents["state.json"] = {**state, "best": best_name}
            manifest = {name: write_synced(temporary / name, content) for name, content in contents.items()}
            write_synced(temporary / "manifest.json", manifest)
            sync_folder(temporary)
            temporary.rename(final)
            sync_folder(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _prune(folder)
    return final


def write_synced(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Writes variables by name (.npz) or a JSON value through to the disk.

    Variables go one at a time, so no second copy of the model is held.

    Returns:
      The file's size and SHA-256, for a manifest.
    """
    with path.open("wb") as file:
        if path.suffix == ".npz":
            write_variables(file, content)
        else:
            file.write((json.dumps(content, indent=1) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
    return {"size": path.stat().st_size, "sha256": _digest(path)}


def _digest(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha.update(chunk)
    return sha.hexdigest()


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first; none where there is no such folder."""
    found = [c for c in folder.glob("*-*") if _NAME.fullmatch(c.name) and c.is_dir()]
    return sorted(found, key=lambda c: tuple(int(part) for part in c.name.split("-")))


def best_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the best validation, if there is one: the newest readable checkpoint says which."""
    for checkpoint in reversed(list_checkpoints(folder)):
        with contextlib.suppress(*_UNREADABLE):
            name = json.loads((checkpoint / "state.json").read_text())["best"]
            found = name is not None and _NAME.fullmatch(name) and (folder / name).is_dir()
            return folder / name if found else None
    return None


def is_whole(checkpoint: Path) -> bool:
    """Whether `verify` has nothing to say."""
    try:
        verify(checkpoint)
    except CheckpointError:
        return False
    return True


def verify(checkpoint: Path) -> None:
    """Raises CheckpointError, naming the file, unless every file is what the manifest says."""
    try:
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        entries = [(name, entry["size"], entry["sha256"]) for name, entry in manifest.items()]
    except _UNREADABLE as error:
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
        if _digest(path) != sha256:
            raise CheckpointError(f"{path}: damaged (its SHA-256 is not the manifest's)")


def read_weights(folder: Path, variables: Mapping[str, tf.Variable], *, average: bool) -> None:
    """Assigns the weights of a folder to the variables of a model, by name; with `average` their Polyak average.

    Raises:
      CheckpointError: damage, or variables that are missing, surplus or of another shape.
    """
    read_variables(folder / "weights.npz", variables, CheckpointError)
    if average:
        trained = {name: variable for name, variable in variables.items() if variable.trainable}
        read_variables(folder / "average.npz", trained, CheckpointError)


def restore(checkpoint: Path, groups: Groups, parse: Callable[[dict[str, Any]], State]) -> State:
    """Loads a verified checkpoint into the variables and returns its state.

    Args:
      checkpoint: its folder, which `verify` had nothing against.
      groups: file stem -> variables by name.
      parse: makes the state of state.json's values; raises ValueError or TypeError for others.

    Raises:
      CheckpointError: variables that are missing, surplus or of another shape.
    """
    for stem, variables in groups.items():
        read_variables(checkpoint / f"{stem}.npz", variables, CheckpointError)
    try:
        state = json.loads((checkpoint / "state.json").read_text())
        state.pop("best", None)
        return parse(state)
    except _UNREADABLE as error:
        raise CheckpointError(f"{checkpoint / 'state.json'}: not the state of a run ({error})") from None


def restore_latest(
    folder: Path, groups: Groups, parse: Callable[[dict[str, Any]], State], warn: Callable[[str], None] = print
) -> State | None:
    """Loads the newest undamaged checkpoint; each damaged one is named to `warn`.

    Damaged ones are then renamed to "damaged-...", out of the way of the run, which resumes from an earlier step.

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
        state = restore(checkpoint, groups, parse)
        for other in damaged:
            set_aside(other, _DAMAGED)
        return state
    if checkpoints:
        raise CheckpointError(f"{folder}: every checkpoint is damaged")
    return None


def set_aside(checkpoint: Path, prefix: str) -> None:
    """Puts a prefix before the name of a checkpoint, which is then no longer one of the run's."""
    aside = checkpoint.with_name(prefix + checkpoint.name)
    shutil.rmtree(aside, ignore_errors=True)
    checkpoint.rename(aside)


def _prune(folder: Path) -> None:
    best = best_checkpoint(folder)
    for checkpoint in list_checkpoints(folder)[:-KEEP]:
        if checkpoint != best:
            aside = folder / f"{WRITING}{checkpoint.name}"  # so that a crash leaves no half of a checkpoint
            checkpoint.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
