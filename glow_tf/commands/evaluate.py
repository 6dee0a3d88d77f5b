"""evaluate: bits per dimension over the images of a split.

The mean over the images, and its standard error: their standard deviation over the root of their number. The
dequantisation noise is a function of --seed and of the image's place in the split, so the same command gives the same
number, whatever --batch is. --out writes a CSV with a row for each image: its number in the split, its label and its
bits per dimension.

    python -m glow_tf evaluate runs/digits --split test --out scores.csv
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from glow_tf.commands.arguments import MAX_SEED, CommandError, add_batch, add_model, check_out, whole_number
from glow_tf.commands.contexts import check_made_of_images
from glow_tf.commands.data import SPLITS, add_data, check_data, load_data

HELP = "bits per dimension over the images of a split"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What n images came to.

    Attributes:
      bits_per_dim: bits per subpixel of each, [n].
      labels: of each, [n].
      pred_error: the classifier's share of errors; None where the model has none.
    """

    bits_per_dim: Any
    labels: Any
    pred_error: float | None

    def __str__(self) -> str:
        n = len(self.bits_per_dim)
        text = f"{self.bits_per_dim.mean():.4f}"
        if n > 1:  # the standard error of that mean
            text += f" +- {self.bits_per_dim.std(ddof=1) / math.sqrt(n):.4f}"
        text += " bits/dim"
        return text if self.pred_error is None else f"{text}, {100 * self.pred_error:.2f} % classified wrong"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    add_data(parser)
    parser.add_argument("--split", choices=SPLITS, default="test", help="(default test)")
    parser.add_argument("--n", type=whole_number(1), help="only the first so many images (default: all)")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0, help="of the noise (default 0)")
    parser.add_argument("--out", type=Path, help="a .csv of every image's bits per dimension")
    add_batch(parser, 50)


def check(args: argparse.Namespace) -> None:
    """Settles which data it is."""
    check_made_of_images(args.location)
    args.data = check_data(args, args.location)
    if args.out is not None:
        check_out(args.out, [".csv"])


def run(args: argparse.Namespace) -> None:
    """Evaluates, and prints one line."""
    from data_loaders.progress import Progress
    from glow_tf.commands.models import open_model

    data = load_data(args.data, args.location)
    config = args.location.config
    if config.takes_labels and data.n_y != config.n_y:
        raise CommandError(f"{args.model} is for {config.n_y} classes, {data.name} has {data.n_y}")
    there = data.n_train if args.split == "train" else data.n_test
    n = min(args.n or there, there)
    loaded = open_model(args.location, args.weights)
    batches = data.batches_in_order(args.split, min(args.batch, n))
    with Progress("evaluating", n) as progress:
        result = evaluate(loaded.glow, batches, n, args.seed, progress)
    if args.out is not None:
        write_scores(args.out, result)
    means = f"mean{' and standard error' if n > 1 else ''} of {n} images"
    print(f"{data.name} {args.split}: {result} ({means}; {loaded.weights}; noise {args.seed})")


def write_scores(path: Path, result: Evaluation) -> None:
    """Writes the CSV: image, label, bits_per_dim."""
    from glow_tf.storage.files import atomic_write

    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "label", "bits_per_dim"])
        for image, (label, bits) in enumerate(zip(result.labels, result.bits_per_dim, strict=True)):
            writer.writerow([image, label, f"{bits:.6f}"])


def evaluate(glow: Any, batches: Iterable[Any], n: int, seed: int, progress: Any) -> Evaluation:
    """The first n images of `batches`, pairs of uint8 [N, H, W, C] and int [N].

    Raises:
      ValueError: a value is not finite, so there is no mean.
    """
    import numpy as np

    noise_source = np.random.default_rng(seed)  # one stream, taken in the images' order
    bits, labels, errors = [], [], []
    left = n
    for x, y in batches:
        x, y = np.asarray(x)[:left], np.asarray(y)[:left]
        noise = noise_source.random(x.shape, np.float32) / np.float32(glow.config.n_bins)
        bits.append(np.asarray(glow.bits_per_dim(x, y, noise), np.float64))
        labels.append(y)
        if glow.config.has_classifier:
            errors.append(np.argmax(np.asarray(glow.classify(x, noise)), 1) != y)
        left -= len(x)
        progress.update(len(x), lambda: f"{np.concatenate(bits).mean():.4f} bits/dim")
        if left == 0:
            break
    values = np.concatenate(bits)
    if not np.isfinite(values).all():
        raise CommandError(f"bits/dim of image {int(np.argmin(np.isfinite(values)))} is not finite: a broken model")
    return Evaluation(values, np.concatenate(labels), float(np.concatenate(errors).mean()) if errors else None)
