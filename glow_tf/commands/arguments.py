"""Arguments that several commands share: their types and their checks. No TensorFlow here."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import math
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

PROGRAM = "python -m glow_tf"
MAX_SEED = 2**31 - 1
STRIP = (".png", ".gif")  # what add_strip's files may end in
BEST, LAST, AVERAGE = "best", "last", "average"  # the weights that --weights chooses


def version() -> str:
    """What --version prints: this package, what it runs on, and Python."""
    found = {"glow_tf": "(not installed)"}
    for package in ("glow_tf", "tensorflow", "horovod"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return ", ".join(f"{name} {number}" for name, number in {**found, "Python": platform.python_version()}.items())


class CommandError(ValueError):
    """Arguments that a command cannot work with; the message says which, and what is allowed."""


class Parser(argparse.ArgumentParser):
    """Errors in one line, --a-b for --a_b, and no abbreviations: a later flag must not change what a script means."""

    program = PROGRAM  # for errors

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})  # type: ignore[arg-type]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, where --image-dir is --image_dir; a flag whose own name has a hyphen stays as it is."""
        return super().parse_known_args([self._known(a) for a in (sys.argv[1:] if args is None else args)], namespace)

    def _known(self, word: str) -> str:
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or flag in self._option_string_actions:
            return word
        return "--" + flag[2:].replace("-", "_") + equals + value

    def error(self, message: str) -> NoReturn:
        """Exits with 2."""
        self.exit(2, f"{self.program}: error: {' '.join(message.split())}\n")


def whole_number(at_least: int, at_most: int | None = None) -> Callable[[str], int]:
    """An argparse type."""
    allowed = f"of at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = at_least - 1
        if value < at_least or (at_most is not None and value > at_most):
            raise argparse.ArgumentTypeError(f"{text!r}: a whole number {allowed} is needed")
        return value

    return parse


def number(at_least: float = -math.inf) -> Callable[[str], float]:
    """An argparse type: a finite number."""
    allowed = "a number" if at_least == -math.inf else f"a number of at least {at_least:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= at_least):
            raise argparse.ArgumentTypeError(f"{text!r}: {allowed} is needed")
        return value

    return parse


def add_model(parser: argparse.ArgumentParser) -> None:
    """MODEL and --weights."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="a run's folder, one of its checkpoints, a saved model, an export, or OpenAI's graph_unoptimized.pb",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--weights",
        choices=(BEST, LAST, AVERAGE),
        help="of a run: those of its best checkpoint, of its last step, or their Polyak average (default: what the run"
        " evaluates with)",
    )
    which.add_argument(
        "--polyak", dest="weights", action="store_const", const=AVERAGE, help="the same as --weights average"
    )
    which.add_argument("--raw", dest="weights", action="store_const", const=LAST, help="the same as --weights last")


def add_batch(parser: argparse.ArgumentParser, default: int = 16) -> None:
    """--batch."""
    parser.add_argument(
        "--batch", type=whole_number(1, 4096), default=default, help=f"images at a time (default {default})"
    )


def add_scale(parser: argparse.ArgumentParser) -> None:
    """--scale."""
    parser.add_argument(
        "--scale",
        type=whole_number(1, 64),
        help="enlarge every pixel so many times (default: what brings tiny images to 32 pixels)",
    )


def add_label(parser: argparse.ArgumentParser) -> None:
    """--label, one for all images, for what encodes."""
    parser.add_argument(
        "--label",
        type=whole_number(0),
        help="for a class-conditional model, the class whose prior the latents refer to (default 0)",
    )


def add_strip(parser: argparse.ArgumentParser, name: str) -> None:
    """--out for a picture of rows, an animation or both, and --seconds."""
    parser.add_argument(
        "--out",
        type=Path,
        nargs="+",
        default=[Path(f"{name}.png")],
        help=f".png, .gif or both (default {name}.png)",
    )
    parser.add_argument("--seconds", type=number(0.02), default=0.1, help="a GIF's time for an image (default 0.1)")


def check_out(path: Path, endings: Sequence[str], argument: str = "--out") -> None:
    """Raises CommandError unless a file with one of these endings can be written at `path`, folders made as needed."""
    if path.suffix.lower() not in endings:
        raise CommandError(f"{argument} {path}: the name must end in {' or '.join(endings)}")
    if path.is_dir():
        raise CommandError(f"{argument} {path}: this is a folder; a file name is needed")
    _check_writable(path.parent, path, argument)


def check_out_folder(path: Path, argument: str = "--out") -> None:
    """Raises CommandError unless files can be written into the folder `path`, or it can be made."""
    _check_writable(path, path, argument)


def _check_writable(folder: Path, path: Path, argument: str) -> None:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise CommandError(f"{argument} {path}: {folder} is a file; a folder is needed")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(f"{argument} {path}: the folder {folder} cannot be written to")
