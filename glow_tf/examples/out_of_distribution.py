"""Likelihoods of images that a flow was not trained on, which are often higher than those of its own test set.

    python -m glow_tf.examples.out_of_distribution runs/cifar10 --problem cifar10 --other folder --other_dir faces

trains a small model on one data set (unless runs/cifar10 holds a run already), scores the test images of both with
`python -m glow_tf evaluate --out`, and draws the histograms of their bits/dim. Known from Nalisnick et al., "Do Deep
Generative Models Know What They Don't Know?" (ICLR 2019): smoother images are more likely, whatever they show.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np

from data_loaders.tensorflow_import import import_tensorflow
from glow_tf.commands import main as command
from glow_tf.commands.arguments import check_out_folder, whole_number
from glow_tf.commands.plot import check_matplotlib
from glow_tf.storage.files import atomic_write

MODEL = {"n_levels": 3, "depth": 4, "width": 64, "flow_coupling": "affine", "learntop": True}
SETTINGS = {"n_batch_train": 64, "n_batch_init": 256, "lr": 0.002, "epochs_warmup": 1, "dal": 0}


def train_model(args: argparse.Namespace) -> None:
    """A run of --epochs epochs in the folder args.run."""
    import_tensorflow()  # without what it says of this machine
    from glow_tf.training import train

    place = "image_dir" if args.problem == "folder" else "data_dir"
    config = {**SETTINGS, "problem": args.problem, place: args.data_dir, "logdir": str(args.run)}
    config |= {name: args.epochs for name in ("epochs", "epochs_full_valid", "epochs_full_sample")}
    train({**MODEL, "image_size": args.image_size}, {**config, "n_train": args.n_train})


def read_scores(path: Path) -> np.ndarray:
    """The bits/dim of every image in a CSV that `evaluate` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return np.array([float(row["bits_per_dim"]) for row in csv.DictReader(file)])


def separation(own: np.ndarray, other: np.ndarray) -> float:
    """How often one of `own` has fewer bits/dim than one of `other` (the area under the ROC curve); ties count half.

    1: likelihoods tell the two apart; 0.5: they do not; below: the other images are the likelier ones.
    """
    own = np.sort(own)
    below = (np.searchsorted(own, other, "left") + np.searchsorted(own, other, "right")) / 2
    return float(below.mean() / len(own))


def draw(scores: dict[str, np.ndarray]) -> Any:
    """Histograms of bits/dim over the same bins: a figure of matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.add_subplot()
    bins = np.histogram_bin_edges(np.concatenate(list(scores.values())), 60).tolist()
    for name, values in scores.items():
        axis.hist(values, bins, alpha=0.5, density=True, label=f"{name}: mean {values.mean():.2f}")
    axis.set(xlabel="bits/dim (fewer: more likely)", ylabel="density")
    axis.legend()
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Trains, scores, draws; returns 0, or 2 where a data set cannot be scored (the command says why)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run; trained if there is none")
    parser.add_argument("--problem", default="cifar10", help="what it is trained on (default cifar10)")
    parser.add_argument("--data_dir", default="", help="where that is")
    parser.add_argument("--other", required=True, help="the other data set, of as many channels")
    parser.add_argument("--other_dir", help="where that is")
    parser.add_argument("--image_size", type=whole_number(8), default=16, help="side of the images (default 16)")
    parser.add_argument("--epochs", type=whole_number(1), default=10, help="of training (default 10)")
    parser.add_argument("--n_train", type=whole_number(64), default=8000, help="images an epoch (default 8000)")
    parser.add_argument("--n", type=whole_number(2), default=1000, help="images of each test set (default 1000)")
    parser.add_argument("--out", type=Path, default=Path("ood"), help="folder of scores and picture (default ood)")
    args = parser.parse_args(arguments)
    try:
        check_matplotlib()
        check_out_folder(args.out)
        if not (args.run / "config.json").exists():
            train_model(args)
    except ValueError as error:
        parser.error(str(error))
    scores: dict[str, np.ndarray] = {}
    own = ["--problem", args.problem, *(["--data_dir", args.data_dir] if args.data_dir else [])]
    other = ["--problem", args.other, *(["--data_dir", args.other_dir] if args.other_dir else [])]
    for label, data in ((f"{args.problem}, trained on", own), (f"{args.other}, never seen", other)):
        path = args.out / f"{'other' if scores else 'own'}.csv"
        code = command(["evaluate", str(args.run), *data, "--n", str(args.n), "--out", str(path)])
        if code:
            return code
        scores[label] = read_scores(path)
    with atomic_write(args.out / "histograms.png") as temporary:
        draw(scores).savefig(temporary, dpi=110)
    share = separation(*scores.values())
    print(f"{args.out / 'histograms.png'}: in {share:.1%} of pairs the image of the trained kind has fewer bits/dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
