"""Study: one experiment at one scale, from its checks to its results. Training is `glow_tf.training.train`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import data_loaders
from glow_tf import experiments
from glow_tf.commands.folders import find_model
from glow_tf.experiments import results
from glow_tf.runtime import launched_by_horovod
from glow_tf.storage.files import atomic_write
from glow_tf.training.presets import preset

SCALES = ("tiny", "small", "paper")
_LEAST_IMAGES = {"tiny": 500, "small": 1000, "paper": 1000}  # training images, below which nothing is shown

# What the trainings of a scale have in common; an experiment's own settings come on top. `small` is the model that was
# tried by hand: about 200 seconds for 2,700 images on two cores. The paper's settings are the presets of train.py.
_MODEL: Mapping[str, dict[str, Any]] = {
    "tiny": {"image_size": 8, "n_levels": 2, "depth": 4, "width": 32, "n_bits_x": 4, "learntop": True},
    "small": {"image_size": 32, "n_levels": 3, "depth": 10, "width": 128, "n_bits_x": 5, "learntop": True},
    "paper": {},
}
_TRAIN: Mapping[str, dict[str, Any]] = {
    "tiny": {"anchor_size": 8, "n_batch_train": 64, "epochs": 6, "memory": "store"},
    "small": {"n_batch_train": 32, "epochs": 14, "memory": "store"},
    "paper": {},
}


class ExperimentError(ValueError):
    """An experiment cannot begin, for a reason that the message names."""


class Stopped(Exception):  # noqa: N818 - no error: a signal came
    """A signal stopped a training, which saved its state."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@dataclasses.dataclass(frozen=True)
class Run:
    """One training: fields of GlowConfig and of TrainConfig."""

    model: Mapping[str, Any]
    train: Mapping[str, Any]


class Study:
    """An experiment with its data, its trainings and its folder; `begin` makes one.

    Attributes:
      name: of the experiment.
      scale: tiny, small or paper.
      out: folder of results.json, curves.csv, the picture, and runs/.
      data: the DataSet; None where the experiment needs none.
      ends: what paths through the latents start from: images or samples.
      given: the trained run that takes the place of a training, or None.
      args: of the command line.
      runs: the trainings by name.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.name, self.scale, self.out, self.ends = args.name, args.scale, args.out, args.ends
        self.given = args.model
        self.module = experiments.find(args.name)
        self.data: Any = None
        self.args = args
        self.runs: dict[str, Run] = {}
        self.command = f"python -m glow_tf.experiments {shlex.join(sys.argv[1:])}"

    @classmethod
    def begin(cls, args: argparse.Namespace) -> Study:
        """Checks data and folder, before any training.

        Raises:
          ValueError: data is missing or too small, or the folder holds another study; one line.
        """
        study = cls(args)
        study._load_data()
        study.runs = {} if args.model else study.module.runs(study)
        study._check_workers()
        study._claim()
        return study

    # Settings

    def run(self, *, model: Mapping[str, Any], train: Mapping[str, Any] | None = None, named: str = "") -> Run:
        """A training of this scale with these settings of its own.

        Args:
          model: fields of GlowConfig.
          train: fields of TrainConfig.
          named: the preset that is the paper's setting, at paper scale.
        """
        base = preset(named) if named and self.scale == "paper" else None
        model_fields = {**_MODEL[self.scale], **(base.model if base else {}), **model}
        train_fields = {**_TRAIN[self.scale], **(base.train if base else {}), **(train or {})}
        if self.scale != "paper":
            train_fields |= {"n_train": self.data.n_train, "epochs_warmup": 1, "epochs_full_valid": 1}
            train_fields |= {"epochs_full_sample": 10**6}  # the eight grids are train.py's; here the end is enough
        problem, folder = self._problem()
        train_fields |= {"problem": problem, "image_dir" if problem == "folder" else "data_dir": folder}
        train_fields |= {"precision": self.args.precision, "resume": True}
        if self.args.epochs:
            train_fields["epochs"] = self.args.epochs
        return Run(model_fields, train_fields)

    def _problem(self) -> tuple[str, str]:
        """Name of the data set, and its folder ("": the data set's default)."""
        if self.args.image_dir is not None:
            return "folder", str(self.args.image_dir)
        return self.module.PROBLEMS[self.scale], str(self.args.data_dir or "")

    # Checks

    def _load_data(self) -> None:
        if not self.module.PROBLEMS:
            return
        if self.given is not None and self.args.image_dir is None and self.args.data_dir is None:
            from glow_tf.commands.data import load_data  # the run's own data

            found = find_model(self.given)
            if found.train is None:
                raise ExperimentError(f"--model {self.given}: no run that says which data: give --image_dir")
            self.data = load_data(found.train, found)
        else:
            problem, folder = self._problem()
            if problem == "folder" and not folder:
                raise ExperimentError(f"{self.name} at scale {self.scale} needs --image_dir, a folder of images")
            self.data = data_loaders.load(problem, data_dir=folder, image_size=self._image_size())
        least = _LEAST_IMAGES[self.scale]
        if self.data.n_train < least:
            raise ExperimentError(f"{self.data.describe()}: {self.name} needs at least {least} training images")
        check = getattr(self.module, "check", None)
        if check is not None:
            check(self)

    def _image_size(self) -> Any:
        if self.given is not None:
            config = find_model(self.given).config
            return config.height, config.image_width
        return _MODEL[self.scale].get("image_size") or self.module.PAPER_SIZE

    def _check_workers(self) -> None:
        workers = getattr(self.module, "PAPER_WORKERS", 1)
        if self.scale == "paper" and self.runs and workers > 1 and not launched_by_horovod():
            raise ExperimentError(
                f"the paper trained this with {workers} processes, each with its own batch: horovodrun -np {workers}"
                f" {self.command} (horovodrun -np 1 works, and is not the paper's setting)"
            )

    def _claim(self) -> None:
        """Notes what is studied in OUT/study.json, or finds it noted.

        Raises:
          ExperimentError: the folder holds something else.
        """
        problem = self._problem() if self.module.PROBLEMS else None
        settings = {"name": self.name, "scale": self.scale, "model": str(self.given or ""), "data": problem}
        settings |= {"runs": {name: [dict(run.model), dict(run.train)] for name, run in self.runs.items()}}
        text = json.dumps(settings, indent=1) + "\n"
        path = self.out / "study.json"
        if path.is_file():
            if path.read_text(encoding="utf-8") != text:
                raise ExperimentError(f"{self.out} holds another experiment, or other settings: give another --out")
            return
        self.out.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    # Work

    def folder(self, name: str) -> Path:
        """The folder of a training."""
        return self.out / "runs" / name

    def train(self) -> None:
        """Trains what is not trained yet, with the time left after each.

        Raises:
          Stopped: a signal came; everything is saved.
        """
        from glow_tf.training import train
        from glow_tf.training.workers import connect

        workers = connect()
        left = workers.on_chief(lambda: [name for name in self.runs if not results.is_finished(self.folder(name))])
        begin = time.monotonic()
        for done, name in enumerate(left):
            if workers.is_chief:
                spent = time.monotonic() - begin
                remaining = f", about {spent / done * (len(left) - done) / 60:.0f} min left" if done else ""
                print(f"== {self.name}: training {done + 1} of {len(left)}, {name}{remaining}", flush=True)
            run = self.runs[name]
            result = train(dict(run.model), {**run.train, "logdir": str(self.folder(name))})
            if result.exit_code:
                raise Stopped(result.exit_code)
        if not workers.is_chief:
            sys.exit(0)  # the first process draws

    def conclude(self) -> None:
        """Draws the picture, writes the results, and prints them beside what was published."""
        found = self.module.conclude(self)
        results.write(self, found)

    def model(self, name: str = "", weights: str | None = None) -> Any:
        """The trained model of a run, or the one of the study, if need be --model's; weights: as of the commands."""
        from glow_tf.commands.models import open_model

        folder = self.folder(name) if name else self.given or self.folder(next(iter(self.runs)))
        return open_model(find_model(folder), weights).glow

    def picture(self) -> Path:
        """Where the picture goes."""
        return self.out / f"{self.name}.png"
