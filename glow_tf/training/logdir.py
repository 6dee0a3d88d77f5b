"""The folder of a run: its configuration, and which run may write to it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glow_tf.config import GlowConfig
from glow_tf.storage.files import WRITING, storage_errors, write_text
from glow_tf.training.config import TrainConfig, TrainError

CONFIG_FILE = "config.json"
TRAINING_IMAGES = "training images"  # how many the data had, in that file
EXIT_FILE = "exit_code"  # of the run in this folder: horovodrun turns every code but 0 into 1
# A run may be resumed with other values of these: they say where things are and how long, not what comes out.
_FREE = {
    "verbose", "logdir", "data_dir", "image_dir", "fmap", "pmap", "epochs", "steps", "resume",
    "checkpoint_minutes", "checkpoint_steps", "commit_steps", "skip_corrupt", "inference", "jit",
    "deterministic", "memory", "gradient_checkpointing",
}  # fmt: skip
_OUTPUTS = ("train.*", "test.*", "epoch_*_sample_*.png", "samples", "events", "checkpoints", "model", EXIT_FILE)


def read_config(logdir: Path) -> dict[str, Any] | None:
    """The configuration of the run that `logdir` holds; None where it holds none.

    Raises:
      TrainError: there is a config.json, but it is not one of a run.
    """
    try:
        return _read(logdir / CONFIG_FILE)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise TrainError(f"logdir {logdir} is a file; a folder is needed") from None


def read_config_file(path: Path) -> dict[str, Any]:
    """The content of a run's config.json. Raises TrainError: it cannot be read, or is none."""
    try:
        return _read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise TrainError(f"{path}: there is no such file") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
        if isinstance(config["train"], dict) and isinstance(config["model"], dict):
            return config
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        pass
    raise TrainError(f"{path} is not the configuration of a run")


def read_run(logdir: Path) -> dict[str, Any] | None:
    """The configuration of the run in `logdir` that can be resumed; None where there is none, or a dry run's remains.

    Raises:
      TrainError: as `read_config`.
    """
    held = read_config(logdir)
    return None if held is None or held["train"].get("dry_run") else held


def changed_data(held: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """What to say where a run that is resumed had another number of training images; "" where it had as many."""
    before, now = held.get(TRAINING_IMAGES), config[TRAINING_IMAGES]
    if before in (None, now):
        return ""
    return f"{now} training images, {before} when the run last started, so what follows has them in another order"


def check_claim(logdir: Path, config: Mapping[str, Any], *, resume: bool) -> dict[str, Any] | None:
    """The configuration of the run in `logdir`, which this one resumes; None where it holds none.

    Args:
      logdir: the folder.
      config: JSON values, with "model" and "train".
      resume: resume the run that is there.

    Raises:
      TrainError: the folder holds another run; with `resume`, the differences are named.
    """
    held = read_run(logdir)
    if held is None:
        return None
    if not resume:
        raise TrainError(f"logdir {logdir} holds a run already; --resume resumes it, --logdir names another folder")
    if found := differences(held, config):
        raise TrainError(
            f"logdir {logdir} holds a run with other settings, so it cannot be resumed: {'; '.join(found)}"
        )
    return held


def claim(logdir: Path, config: Mapping[str, Any], *, resuming: bool) -> None:
    """Makes `logdir`, where there is nothing against it (`check_claim`), the folder of this run; writes config.json.

    Unless a run is resumed, what a dry run left in the folder is removed.
    """
    with storage_errors(logdir):
        if not resuming and read_config(logdir) is not None:
            _remove_outputs(logdir)
        (logdir / EXIT_FILE).unlink(missing_ok=True)
        for leftover in logdir.glob(f"{WRITING}*"):
            leftover.unlink()
    write_text(logdir / CONFIG_FILE, json.dumps(config, indent=1) + "\n")


def end(logdir: Path, exit_code: int) -> None:
    """Records how the run in `logdir` ended; there is no such file while it runs, and after a crash."""
    write_text(logdir / EXIT_FILE, f"{exit_code}\n")


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """The settings that decide the results and differ between two configurations: "lr is 0.1 there, 0.2 here"."""
    found = []
    for part, defaults in (("model", GlowConfig), ("train", TrainConfig)):
        old, new = ({**_defaults(defaults), **settings[part]} for settings in (there, here))
        if old.get("on_nan") == "stop":  # a run that stopped may be resumed with another policy
            old["on_nan"] = new.get("on_nan")
        for name in sorted((set(old) | set(new)) - _FREE):
            if old.get(name) != new.get(name):
                found.append(f"{name} is {old.get(name)!r} there, {new.get(name)!r} here")
    return found


def _defaults(kind: Any) -> dict[str, Any]:
    """The values of settings that a run of an earlier version did not know."""
    fields = dataclasses.fields(kind)
    return {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}


def _remove_outputs(logdir: Path) -> None:
    for pattern in _OUTPUTS:
        for path in logdir.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
