"""Checkpoints of OpenAI's TF1 code, read by its variable names.

OpenAI's code names a step's variables `model/<level>/<step>/...`; ours are stacked over the steps of a level.
Source: the variable scopes in model.py and tfops.py of OpenAI's code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from glow_tf.config import ConfigError, GlowConfig
from glow_tf.model import Glow
from glow_tf.storage.checkpoints import CheckpointError
from glow_tf.storage.variables import is_permutation

_MODEL = "model/"
_AVERAGE = "/ExponentialMovingAverage"
_SHOWN = 8  # names listed in an error
# The reader's errors come as TensorFlow's or, by their kind, as Python's: IndexError for a file that ends too soon.
_UNREADABLE = (tf.errors.OpError, IndexError, RuntimeError, ValueError)


class Entry(NamedTuple):
    """Where one variable of OpenAI's model lives in ours: the variable, and the step in a stacked one (else None)."""

    variable: tf.Variable
    step: int | None


_STEP_PATHS = {
    "actnorm/b": "actnorm_center/b",
    "actnorm/logs": "actnorm_scale/logs",
    "permutation/indices": "shuffle/indices",
    "coupling/net/l_1/W": "f1/l_1/W",
    "coupling/net/l_1/b": "f1/l_1/actnorm_center/b",
    "coupling/net/l_1/logs": "f1/l_1/actnorm_scale/logs",
    "coupling/net/l_2/W": "f1/l_2/W",
    "coupling/net/l_2/b": "f1/l_2/actnorm_center/b",
    "coupling/net/l_2/logs": "f1/l_2/actnorm_scale/logs",
    "coupling/net/l_last/W": "f1/l_last/W",
    "coupling/net/l_last/b": "f1/l_last/b",
    "coupling/net/l_last/logs": "f1/l_last/logs",
    **{f"permutation/{name}": f"invconv/{name}" for name in ("W", "P", "L", "U", "sign_S", "log_S")},
}


def openai_entries(glow: Glow) -> dict[str, Entry]:
    """OpenAI's name of every variable of the model -> where it lives in `glow`."""
    entries = {}
    for name, variable in glow.named_variables().items():
        scope, _, path = name.partition("/")
        if scope.startswith("level_"):
            level = scope.removeprefix("level_")
            for step in range(variable.shape[0]):
                entries[f"{_MODEL}{level}/{step}/{_STEP_PATHS[path]}"] = Entry(variable, step)
        elif scope.startswith("split_"):
            entries[f"{_MODEL}pool{scope.removeprefix('split_')}/{path}"] = Entry(variable, None)
        elif path:
            entries[f"{_MODEL}{name}"] = Entry(variable, None)
    return entries


def from_openai(glow: Glow, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values by OpenAI's names and shapes -> by ours, those of a level's steps stacked."""
    stacked: dict[str, list[np.ndarray]] = {}
    for name, (variable, step) in openai_entries(glow).items():
        if name in values:
            shape = variable.shape if step is None else variable.shape[1:]
            value = np.reshape(values[name], shape)
            stacked.setdefault(variable.name.removesuffix(":0"), []).append(value)
    variables = glow.named_variables()
    return {name: np.reshape(np.stack(parts), variables[name].shape) for name, parts in stacked.items()}


def load_openai_checkpoint(
    prefix: str | Path,
    config: GlowConfig | Mapping[str, Any],
    *,
    average: bool = False,
    **options: Any,
) -> Glow:
    """The model that OpenAI's TF1 code saved.

    Args:
      prefix: path of the checkpoint without `.index`, e.g. logs/model_best_loss.ckpt.
      config: the configuration it was trained with.
      average: take the Polyak averages that the checkpoint holds, not the weights themselves.
      **options: memory, precision, seed and jit of Glow.

    Raises:
      CheckpointError: no such checkpoint, it is damaged, or it lacks variables of this configuration, has others, or
        has other shapes; the message names them.
      ConfigError: the configuration is impossible, or has a context.
    """
    reader = _open(prefix)
    stored = {name: shape for name, shape in reader.get_variable_to_shape_map().items() if name.startswith(_MODEL)}
    plain = {name: shape for name, shape in stored.items() if not name.endswith(_AVERAGE)}
    glow = Glow(config, **options)
    if glow.encoder is not None:
        raise ConfigError(f"{prefix}: OpenAI's models are given no context, and context_channels is not 0")
    entries = openai_entries(glow)
    _check(prefix, glow.config, entries, plain)
    names = {name: name for name in entries}
    if average:
        names.update({name: name + _AVERAGE for name in entries if entries[name].variable.trainable})
        missing = sorted(name for name in names.values() if name not in stored)
        if missing:
            raise CheckpointError(f"{prefix} holds no Polyak average of {_some(missing)}")
    try:
        values = {ours: reader.get_tensor(theirs) for ours, theirs in names.items()}
    except _UNREADABLE as error:
        raise CheckpointError(f"{prefix}: damaged checkpoint ({_first_line(error)})") from None
    variables = glow.named_variables()
    for name, value in from_openai(glow, values).items():
        if name.endswith("/permutation/indices") and not is_permutation(value):
            raise CheckpointError(f"{prefix}: {name} is no permutation")
        variables[name].assign(tf.cast(value, variables[name].dtype))
    glow.initialized.assign(value=True)
    return glow


def _open(prefix: str | Path) -> Any:
    if not Path(f"{prefix}.index").is_file():
        raise CheckpointError(f"{prefix}: no checkpoint here (there is no {prefix}.index)")
    try:
        return tf.train.load_checkpoint(str(prefix))
    except _UNREADABLE as error:
        raise CheckpointError(f"{prefix}: not a TensorFlow checkpoint ({_first_line(error)})") from None


def _check(
    prefix: str | Path,
    config: GlowConfig,
    entries: Mapping[str, Entry],
    stored: Mapping[str, list[int]],
) -> None:
    # a shuffle's inverse is stored too, but follows from its indices
    surplus = sorted(name for name in stored if name not in entries and not name.endswith("shuffle/indices_inverse"))
    missing = sorted(name for name in entries if name not in stored)
    problems = []
    if missing:
        problems.append(f"it lacks {_some(missing)}")
    if surplus:
        problems.append(f"it has {_some(surplus)}, which this configuration does not have")
    for name in entries:
        if name in stored and not _same_shape(stored[name], entries[name]):
            variable, step = entries[name]
            wanted = list(variable.shape if step is None else variable.shape[1:])
            problems.append(f"{name} is {stored[name]} where this configuration needs {wanted}")
    if problems:
        shown = "; ".join(problems[:_SHOWN]) + (
            f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        )
        raise CheckpointError(f"{prefix} does not fit the configuration {json.dumps(config.to_dict())}: {shown}")


def _same_shape(stored: list[int], entry: Entry) -> bool:
    """Equal but for leading ones, which OpenAI's code has on biases, scales and 1x1 kernels."""
    ours = list(entry.variable.shape if entry.step is None else entry.variable.shape[1:])
    extra = len(stored) - len(ours)
    return extra >= 0 and list(stored[extra:]) == ours and all(side == 1 for side in stored[:extra])


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
