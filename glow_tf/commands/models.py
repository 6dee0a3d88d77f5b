"""Loading the model of a folder, with the Polyak average or the weights themselves."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from glow_tf.commands.arguments import PROGRAM, CommandError
from glow_tf.commands.folders import Found
from glow_tf.model import Glow
from glow_tf.serving.exported import ExportedModel
from glow_tf.storage.models import load as load_saved
from glow_tf.training import checkpoints

Model = Glow | ExportedModel  # what commands may do with either are the methods that both have
POLYAK, RAW = "polyak", "raw"
_NAMES = {POLYAK: "Polyak average", RAW: "raw weights"}


@dataclasses.dataclass(frozen=True)
class Opened:
    """A loaded model.

    Attributes:
      glow: the model.
      weights: for people: which weights these are.
    """

    glow: Model
    weights: str


def open_model(found: Found, choice: str | None = None) -> Opened:
    """Loads the model of a folder.

    A run's newest checkpoint holds both kinds of weights. Where there is none, or it is damaged (which is said on
    stderr), the run's model/ is taken, then older checkpoints.

    Args:
      found: where it is.
      choice: "polyak" or "raw"; None: what the run itself evaluates and samples with.

    Raises:
      CommandError: the kind of weights that was chosen is not there.
      ValueError: what is there is damaged; the message names the file.
    """
    if found.train is None:
        if choice is not None:
            raise CommandError(
                f"{found.path} is no run and holds one set of weights; --polyak and --raw choose between"
                " those of a run's folder"
            )
        if found.version is not None:
            exported = ExportedModel(found.version)
            return Opened(exported, f"{exported.weights or 'weights'}, exported to {found.version}")
        return Opened(load_saved(found.path), f"weights of {found.path}")
    default = POLYAK if found.train.polyak else RAW
    wanted = choice or default
    problem = f"{found.path}: the run has saved nothing yet"
    for place in _places(found):
        try:
            if place.name == "model" and found.checkpoint is None:
                if wanted != default:
                    problem = f"{place} holds the {_NAMES[default]} only, and there is no checkpoint beside it"
                    continue
                return Opened(load_saved(place), f"{_NAMES[wanted]} of {place}")
            return _open_checkpoint(found, place, wanted)
        except ValueError as error:
            problem = str(error)
            if found.checkpoint is None:
                print(f"{PROGRAM}: warning: skipped {problem}", file=sys.stderr)
    raise CommandError(problem)


def _places(found: Found) -> Iterator[Path]:
    if found.checkpoint is not None:
        yield found.checkpoint
        return
    newest_first = checkpoints.list_checkpoints(found.path / "checkpoints")[::-1]
    yield from newest_first[:1]
    if (found.path / "model").is_dir():
        yield found.path / "model"
    yield from newest_first[1:]


def _open_checkpoint(found: Found, place: Path, wanted: str) -> Opened:
    checkpoints.verify(place)
    glow = Glow(found.config)
    variables = glow.named_variables()
    checkpoints.read_variables(place / "weights.npz", variables)
    if wanted == POLYAK:
        averaged = {name: variable for name, variable in variables.items() if variable.trainable}
        checkpoints.read_variables(place / "average.npz", averaged)
    step = json.loads((place / "state.json").read_text())["step"]
    return Opened(glow, f"{_NAMES[wanted]} after step {step}")


def warn_of_another(glow: Model, model: str, path: Path) -> None:
    """Says on stderr that the latents in `path` are those of another model, if they are."""
    if model != glow.fingerprint():
        print(
            f"{PROGRAM}: warning: {path} was made with another model, or other weights of it (--polyak, --raw)",
            file=sys.stderr,
        )
