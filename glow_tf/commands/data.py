"""Which data a command reads: a run's own, or what the flags say in its place."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import data_loaders
from glow_tf.commands.arguments import CommandError
from glow_tf.commands.folders import ModelLocation
from glow_tf.training.config import TrainConfig

SPLITS = ("train", "test")


def add_data(parser: argparse.ArgumentParser) -> None:
    """--problem, --data_dir and --category."""
    parser.add_argument("--problem", help=f"{', '.join(data_loaders.problems())} (default: the run's)")
    parser.add_argument("--data_dir", help="where the data is (default: where the run found it)")
    parser.add_argument("--category", help="a sub-set of the data (default: the run's)")


def check_data(args: argparse.Namespace, location: ModelLocation) -> TrainConfig:
    """The run's settings, with the flags in place of what they say.

    Raises:
      CommandError: there is no telling which data is meant, or it is not there.
    """
    if args.problem is None and location.train is None:
        raise CommandError(f"{location.path} belongs to no run that says which data: give --problem (and --data_dir)")
    if args.problem is not None:
        data_loaders.check_problem(args.problem)
    train = location.train or TrainConfig()
    if args.problem not in (None, train.problem) or location.train is None:  # then the run's places say nothing
        train = dataclasses.replace(
            train, problem=args.problem, data_dir="", image_dir="", category="", n_test=-1, crop=0
        )
    if args.data_dir is not None:
        train = dataclasses.replace(train, data_dir=args.data_dir, image_dir="")
    if args.category is not None:
        train = dataclasses.replace(train, category=args.category)
    folder = train.image_dir or train.data_dir
    if train.problem == "folder" and not folder:
        raise CommandError("--problem folder needs --data_dir, a folder of images")
    if folder and not Path(folder).is_dir():
        raise CommandError(f"there is no folder {folder}, where the data should be: give --data_dir")
    return train


def load_data(train: TrainConfig, location: ModelLocation, **options: Any) -> Any:
    """The DataSet, in the model's image size.

    Raises:
      ValueError: the data cannot be read, or the model is for other images.
    """
    config = location.config
    if train.crop:
        options["crop"] = train.crop
    data = data_loaders.load(
        train.problem,
        data_dir=train.image_dir or train.data_dir,
        image_size=(config.height, config.image_width),
        category=train.category,
        n_test=train.n_test,
        **options,
    )
    if tuple(data.image_shape) != config.image_shape:
        raise CommandError(f"{location.path} is for images {config.image_shape}, {data.name} has {data.image_shape}")
    return data
