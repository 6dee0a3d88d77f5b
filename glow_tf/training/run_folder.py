"""The folder of a run: whose it is, what is in it, and that only one run writes to it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glow_tf.config import GlowConfig
from glow_tf.training.config import TrainConfig, TrainError
from glow_tf.training.files import storing, write_json, write_text

CONFIG_FILE = "config.json"
EXIT_FILE = "exit_code"  # of the run in this folder, for who started it with horovodrun, which makes 1 of every code
_LOCK = ".lock"
# A run may go on with other values of these: they say where things are and how long, not what comes out.
_FREE = {
    "verbose", "logdir", "data_dir", "image_dir", "fmap", "pmap", "epochs", "steps", "resume",
    "checkpoint_minutes", "checkpoint_steps", "commit_steps", "skip_corrupt",
}  # fmt: skip
_OUTPUTS = ("train.txt", "test.txt", "epoch_*_sample_*.png", "events", "checkpoints", "model", EXIT_FILE)


def read_config(logdir: Path) -> dict[str, Any] | None:
    """The configuration of the run that `logdir` holds; None where it holds none.

    Raises:
      TrainError: there is a config.json, but it is not one of a run.
    """
    path = logdir / CONFIG_FILE
    try:
        config = json.loads(path.read_text())
        if isinstance(config["train"], dict) and isinstance(config["model"], dict):
            return config
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise TrainError(f"logdir {logdir} is a file; a folder is needed") from None
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        pass
    raise TrainError(f"{path} is not the configuration of a run; choose another logdir")


def check_free(logdir: Path, *, resume: bool) -> None:
    """Raises TrainError if `logdir` holds a run (other than a dry one) that is not to be resumed."""
    held = read_config(logdir)
    if held is not None and not resume and not held["train"].get("dry_run"):
        raise TrainError(
            f"logdir {logdir} holds a run already; --resume goes on with it, --logdir names another folder"
        )


def claim(logdir: Path, config: Mapping[str, Any], *, resume: bool) -> bool:
    """Makes `logdir` this run's, and writes config.json.

    Args:
      logdir: the folder; made where there is none. What a dry run left in it is removed.
      config: JSON values, with "model" and "train".
      resume: go on with the run that is there.

    Returns:
      Whether there is a run to go on with.

    Raises:
      TrainError: the folder holds another run; with `resume`, the differences are named.
    """
    check_free(logdir, resume=resume)
    held = read_config(logdir)
    if held is not None and held["train"].get("dry_run"):
        _remove_outputs(logdir)
        held = None
    if held is not None and (found := differences(held, config)):
        raise TrainError(
            f"logdir {logdir} holds a run with other settings, so it cannot be resumed: {'; '.join(found)}"
        )
    with storing(logdir):
        (logdir / EXIT_FILE).unlink(missing_ok=True)
        write_json(logdir / CONFIG_FILE, dict(config))
    return held is not None


@contextlib.contextmanager
def locked(logdir: Path) -> Iterator[None]:
    """Within it no other run may have this folder, which is made where there is none.

    The lock is the system's, on a file in the folder: it ends with the process, however that ends.

    Raises:
      TrainError: another run has it.
      StorageError: the folder is not there and cannot be made, or is read-only.
    """
    path = logdir / _LOCK
    with storing(logdir):
        logdir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(descriptor, 200).decode(errors="replace").strip()
            raise TrainError(f"logdir {logdir} is in use by another run ({who or 'of unknown origin'})") from None
        except OSError as error:
            print(f"warning: {path}: this file system has no locks ({error.strerror}); nothing guards the folder")
        with contextlib.suppress(OSError):  # a full disk: the lock holds without it
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def end(logdir: Path, exit_code: int) -> None:
    """Writes down how the run in `logdir` ended; there is no such file while it goes on, and after a crash."""
    write_text(logdir / EXIT_FILE, f"{exit_code}\n")


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What two configurations differ in, of what decides the results: "lr is 0.1 there, 0.2 here"."""
    found = []
    for part, defaults in (("model", GlowConfig), ("train", TrainConfig)):
        old, new = {**_defaults(defaults), **there[part]}, here[part]
        if old.get("on_nan") == "stop":  # a run that stopped may go on with another policy; the others are kept
            old["on_nan"] = new.get("on_nan")
        for name in sorted((set(old) | set(new)) - _FREE):
            if old.get(name) != new.get(name):
                found.append(f"{name} is {old.get(name)!r} there, {new.get(name)!r} here")
    return found


def _defaults(kind: Any) -> dict[str, Any]:
    """What a run of an earlier version had for settings that it did not know."""
    fields = dataclasses.fields(kind)
    return {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}


def _remove_outputs(logdir: Path) -> None:
    for pattern in _OUTPUTS:
        for path in logdir.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
