"""plot: the curves of one or several runs in one picture.

A colour for each run: the test set as a line with dots, the training set dashed.

    python -m glow_tf plot runs/digits runs/deeper --out curves.png
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any, NamedTuple

from glow_tf.commands.arguments import CommandError, check_out

HELP = "the curves of several runs in one picture"
NEEDS_TENSORFLOW = False
_METRICS = {
    "bits_x": "bits/dim",
    "loss": "loss",
    "bits_y": "bits of the label",
    "pred_loss": "share of wrong classes",
}
_AXES = {"epoch": "epoch", "images": "images seen"}
_KEYS = {"epoch": "epoch", "images": "n_images"}
_STYLES = {"test": "o-", "train": "--"}


class Curve(NamedTuple):
    """A metric of one run on one split, by epoch or by images seen."""

    run: Path
    split: str
    x: list[float]
    y: list[float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    parser.add_argument("--metric", choices=_METRICS, default="bits_x", help="what is plotted (default bits_x)")
    parser.add_argument("--x", choices=_AXES, default="epoch", help="against what (default epoch)")
    parser.add_argument("--out", type=Path, default=Path("curves.png"), help="the picture (default curves.png)")


def check(args: argparse.Namespace) -> None:
    """Settles args.curves."""
    check_out(args.out, [".png"])
    check_matplotlib()
    args.curves = [curve for run in args.runs for curve in read_curves(run, args.metric, args.x)]


def check_matplotlib() -> None:
    """Raises CommandError where matplotlib, an extra, is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError("matplotlib is needed for the picture: pip install 'glow_tf[experiments]'")


def read_curves(run: Path, metric: str, axis: str) -> list[Curve]:
    """The curves of a run on test and training set, those that have a point already.

    Raises:
      CommandError: there is no run, its logs are damaged, or it has no results yet.
    """
    curves = []
    for split in _STYLES:
        path = run / f"{split}.txt"
        if not path.is_file():
            raise CommandError(f"{run}: no run in this folder (there is no {path.name})")
        points = []
        # the first line has the settings; a last one without its end is being written
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[1:-1], 2):
            try:
                entry = json.loads(line)
                points.append((float(entry[_KEYS[axis]]), float(entry[metric])))
            except (ValueError, TypeError, KeyError, RecursionError):
                raise CommandError(f"{path}: line {number} is no result of a run") from None
        if points:
            curves.append(Curve(run, split, [x for x, _ in points], [y for _, y in points]))
    if not curves:
        raise CommandError(f"{run}: the run has no results yet")
    return curves


def run(args: argparse.Namespace) -> None:
    """Draws them."""
    from glow_tf.storage.files import atomic_write

    figure = draw(args.curves, _AXES[args.x], _METRICS[args.metric])
    with atomic_write(args.out) as temporary:
        figure.savefig(temporary, dpi=110)
    tests = [f"{curve.run} {curve.y[-1]:.4f}" for curve in args.curves if curve.split == "test"]
    print(f"{args.out}: {_METRICS[args.metric]} of {len(args.runs)} run(s); last on the test set: {', '.join(tests)}")


def draw(curves: list[Curve], x_label: str, y_label: str) -> Any:
    """A figure of matplotlib with these curves."""
    from matplotlib.figure import Figure  # not pyplot, which looks for a display

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.add_subplot()
    colours = {run: f"C{i}" for i, run in enumerate(dict.fromkeys(curve.run for curve in curves))}
    for curve in curves:
        label = f"{curve.run}, {curve.split}"
        axis.plot(curve.x, curve.y, _STYLES[curve.split], color=colours[curve.run], markersize=3, label=label)
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure
