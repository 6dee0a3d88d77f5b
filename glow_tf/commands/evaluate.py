"""evaluate: bits per dimension over the images of a split.

The mean over the images, and its standard error: their standard deviation over the root of their number. The
dequantisation noise is a function of --seed and of the image's place in the split, so the same command gives the same
number, whatever --batch is.

    python -m glow_tf evaluate runs/digits --split test
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from glow_tf.commands.arguments import MAX_SEED, CommandError, add_batch, add_model, whole_number
from glow_tf.commands.data import SPLITS, add_data, check_data, load_data
from glow_tf.commands.folders import find_model

HELP = "bits per dimension over the images of a split"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Means over n images.

    Attributes:
      n: how many.
      bits_per_dim: mean bits per subpixel.
      standard_error: of that mean; NaN for one image.
      pred_error: the classifier's share of errors; None where the model has none.
    """

    n: int
    bits_per_dim: float
    standard_error: float
    pred_error: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    add_data(parser)
    parser.add_argument("--split", choices=SPLITS, default="test", help="(default test)")
    parser.add_argument("--n", type=whole_number(1), help="only the first so many images (default: all)")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0, help="of the noise (default 0)")
    add_batch(parser, 50)


def check(args: argparse.Namespace) -> None:
    """Settles which data it is."""
    args.found = find_model(args.model)
    args.data = check_data(args, args.found)


def run(args: argparse.Namespace) -> None:
    """Evaluates, and prints one line."""
    from data_loaders.progress import Progress
    from glow_tf.commands.models import open_model

    data = load_data(args.data, args.found)
    config = args.found.config
    if config.ycond and data.n_y != config.n_y:
        raise CommandError(f"{args.model} is for {config.n_y} classes, {data.name} has {data.n_y}")
    there = data.n_train if args.split == "train" else data.n_test
    n = min(args.n or there, there)
    opened = open_model(args.found, args.weights)
    batches = data.batches_in_order(args.split, min(args.batch, n))
    with Progress("evaluating", n) as progress:
        result = evaluate(opened.glow, batches, n, args.seed, progress)
    error = f" +- {result.standard_error:.4f}" if n > 1 else ""
    line = f"{data.name} {args.split}: {result.bits_per_dim:.4f}{error} bits/dim"
    if result.pred_error is not None:
        line += f", {100 * result.pred_error:.2f} % classified wrong"
    print(f"{line} (mean{' and standard error' if n > 1 else ''} of {n} images; {opened.weights}; noise {args.seed})")


def evaluate(glow: Any, batches: Iterable[Any], n: int, seed: int, progress: Any) -> Evaluation:
    """The means over the first n images of `batches`, pairs of uint8 [N, H, W, C] and int [N].

    Raises:
      ValueError: a value is not finite, so that there is no mean.
    """
    import numpy as np

    noise_source = np.random.default_rng(seed)  # one stream, taken in the images' order
    bits, errors = [], []
    left = n
    for x, y in batches:
        x, y = np.asarray(x)[:left], np.asarray(y)[:left]
        noise = noise_source.random(x.shape, np.float32) / np.float32(glow.config.n_bins)
        bits.append(np.asarray(glow.bits_per_dim(x, y, noise), np.float64))
        if glow.config.has_classifier:
            errors.append(np.argmax(np.asarray(glow.classify(x, noise)), 1) != y)
        left -= len(x)
        progress.update(len(x), f"{np.concatenate(bits).mean():.4f} bits/dim")
        if left == 0:
            break
    values = np.concatenate(bits)
    if not np.isfinite(values).all():
        raise CommandError(f"bits/dim of image {int(np.argmin(np.isfinite(values)))} is not finite: a broken model")
    spread = values.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    wrong = float(np.concatenate(errors).mean()) if errors else None
    return Evaluation(n, float(values.mean()), float(spread), wrong)
