"""Loading the model of a folder, with the weights that were chosen."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from glow_tf.commands.arguments import AVERAGE, BEST, LAST, PROGRAM, CommandError
from glow_tf.commands.folders import ModelLocation
from glow_tf.interface import ImageModel
from glow_tf.model import Glow
from glow_tf.serving.exported import ExportedModel
from glow_tf.storage import checkpoints
from glow_tf.storage.models import load as load_saved

_NAMES = {AVERAGE: "Polyak average", LAST: "raw weights"}


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A loaded model.

    Attributes:
      glow: the model.
      weights: for people: which weights these are.
    """

    glow: ImageModel
    weights: str


def open_model(location: ModelLocation, weights: str | None = None) -> LoadedModel:
    """Loads the model of a folder.

    A run's checkpoint holds the weights of its last step and their average. Where the newest one is damaged (which is
    said on stderr), or there is none, the run's model/ is taken, then older checkpoints.

    Args:
      location: where it is.
      weights: of a run: "last" or "average" of the newest checkpoint; "best", what the run evaluates with, of the
        checkpoint with the best test bits/dim; None: what the run evaluates and samples with.

    Raises:
      CommandError: the kind of weights that was chosen is not there.
      ValueError: what is there is damaged; the message names the file.
    """
    if location.train is None:
        if weights is not None:
            raise CommandError(
                f"--weights {weights}: {location.path} is no run and holds one set of weights; the option chooses among"
                " those of a run's folder"
            )
        if location.model is not None:
            return LoadedModel(location.model, f"weights of OpenAI's graph {location.path}")
        if location.version is not None:
            exported = ExportedModel(location.version)
            return LoadedModel(exported, f"{exported.weights or 'weights'}, exported to {location.version}")
        return LoadedModel(load_saved(location.path), f"weights of {location.path}")
    default = AVERAGE if location.train.polyak else LAST
    wanted = weights if weights in (AVERAGE, LAST) else default
    only = _best(location) if weights == BEST else location.checkpoint
    if only is not None:
        return _open_checkpoint(location, only, wanted)
    problem = f"{location.path}: the run has saved nothing yet"
    for place in _places(location):
        try:
            if place.name != "model":
                return _open_checkpoint(location, place, wanted)
            if wanted == default:
                return LoadedModel(load_saved(place), f"{_NAMES[wanted]} of {place}")
            problem = f"{place} holds the {_NAMES[default]} only, and there is no checkpoint beside it"
        except ValueError as error:
            problem = str(error)
            print(f"{PROGRAM}: warning: skipped {problem}", file=sys.stderr)
    raise CommandError(problem)


def _best(location: ModelLocation) -> Path:
    if location.checkpoint is not None:
        raise CommandError(f"--weights best: {location.path} is one checkpoint; give its run's folder")
    best = checkpoints.best_checkpoint(location.path / "checkpoints")
    if best is None:
        raise CommandError(f"--weights best: {location.path} has no best checkpoint; a run keeps one as it evaluates")
    return best


def _places(location: ModelLocation) -> Iterator[Path]:
    newest_first = checkpoints.list_checkpoints(location.path / "checkpoints")[::-1]
    yield from newest_first[:1]
    if (location.path / "model").is_dir():
        yield location.path / "model"
    yield from newest_first[1:]


def _open_checkpoint(location: ModelLocation, place: Path, wanted: str) -> LoadedModel:
    checkpoints.verify(place)
    glow = Glow(location.config)
    checkpoints.read_weights(place, glow.named_variables(), average=wanted == AVERAGE)
    step = json.loads((place / "state.json").read_text())["step"]
    return LoadedModel(glow, f"{_NAMES[wanted]} after step {step}")


def warn_of_another(glow: ImageModel, model: str, path: Path) -> None:
    """Says on stderr that the latents in `path` are those of another model, if they are; `model` may be "", unknown."""
    if model and model != glow.fingerprint():
        print(
            f"{PROGRAM}: warning: {path} was made with another model, or other weights of it (--weights)",
            file=sys.stderr,
        )
