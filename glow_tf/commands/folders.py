"""Where a model is: a run's folder, one of its checkpoints, a saved model, an export, or OpenAI's frozen graph.

TensorFlow is imported for the last only.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from data_loaders.tensorflow_import import import_tensorflow
from glow_tf.commands.arguments import CommandError
from glow_tf.config import GlowConfig
from glow_tf.runtime import keep_freed_memory
from glow_tf.serving.versions import config_path, find_version
from glow_tf.training.config import TrainConfig
from glow_tf.training.logdir import read_config

if TYPE_CHECKING:
    from glow_tf.interface import ImageModel

_WEIGHTS = "weights.npz"


@dataclasses.dataclass(frozen=True)
class ModelLocation:
    """A folder, or OpenAI's frozen graph, with a model in it.

    Attributes:
      path: as the user named it.
      config: of the model.
      train: the run's settings; None for a saved model or export.
      checkpoint: the only checkpoint to take; None for a run's newest, or what is no run.
      version: the SavedModel to take; None for what is no export.
      model: OpenAI's graph, loaded: nothing else says what images it is for; None for a folder.
    """

    path: Path
    config: GlowConfig
    train: TrainConfig | None = None
    checkpoint: Path | None = None
    version: Path | None = None
    model: ImageModel | None = None


def find_model(path: Path) -> ModelLocation:
    """Recognises what `path` holds, reading nothing but its configuration.

    Raises:
      CommandError: there is no model.
      ConfigError: its config.json is wrong.
      ValueError: a .pb file is not the graph of OpenAI's demo.
    """
    if path.is_file() and path.suffix == ".pb":
        return _of_graph(path)
    if not path.is_dir():
        raise CommandError(f"{path}: there is no such folder")
    if (path / "manifest.json").is_file():
        run = path.resolve().parent.parent
        config = read_config(run)
        if config is None:
            raise CommandError(f"{path}: a checkpoint, but {run} has no config.json that says of what model")
        return _of_run(path, config, path)
    if (path / _WEIGHTS).is_file():
        if not (path / "config.json").is_file():
            raise CommandError(f"{path}: there are weights, but no config.json that says of what model")
        return ModelLocation(path, GlowConfig.from_json(path / "config.json"))
    config = read_config(path)
    if config is None:
        return _of_export(path)
    return _of_run(path, config, None)


def _of_graph(path: Path) -> ModelLocation:
    keep_freed_memory()
    import_tensorflow()
    from glow_tf.serving.openai_graph import OpenAIGraph

    model = OpenAIGraph(path)
    return ModelLocation(path, model.config, model=model)


def _of_export(path: Path) -> ModelLocation:
    version = find_version(path)
    if version is None:
        raise CommandError(
            f"{path}: no run (config.json), no saved model ({_WEIGHTS}) and no export (1/saved_model.pb) in this folder"
        )
    if not config_path(version).is_file():
        raise CommandError(f"{version}: a SavedModel, but not one of glow_tf (there is no {config_path(version)})")
    return ModelLocation(path, GlowConfig.from_json(config_path(version)), version=version)


def _of_run(path: Path, config: dict, checkpoint: Path | None) -> ModelLocation:
    model, train = GlowConfig.from_dict(config["model"]), TrainConfig.from_dict(config["train"])
    return ModelLocation(path, model, train, checkpoint)
