"""Colouring and enlarging held-out faces (or what else there is) with a conditional flow, and how good the answers are.

    python train.py --preset faces32_colour --problem folder --image_dir PHOTOS --epochs 30 --logdir runs/colour
    python -m glow_tf.examples.restoration runs/colour --out colourings.png

    python train.py --preset faces32_enlarge --problem folder --image_dir PHOTOS --epochs 30 --logdir runs/enlarge
    python -m glow_tf.examples.restoration runs/enlarge --out enlargements.png

The picture has a column for each test image: the image, what the model is given of it, and answers. What is printed:

  bits/dim        of the images given their own context, and given that of another image: a model that ignores its
                  context has the same
  agreement       root mean square difference of what is given and the same made of the answers
  error           of the answers' mean, and of what was given taken as the answer; black to white is 1
  spread          standard deviation of the answers to the same context, pixel by pixel
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import tensorflow as tf

from glow_tf.commands.arguments import MAX_SEED, check_out, number, whole_number
from glow_tf.commands.data import check_data, load_data
from glow_tf.commands.folders import ModelLocation, find_model
from glow_tf.commands.models import open_model
from glow_tf.commands.outputs import write_raster
from glow_tf.flow.contexts import picture_of
from glow_tf.images import enlargement_for
from glow_tf.interface import ImageModel


def restore(
    glow: ImageModel, x: np.ndarray, *, answers: int, temperature: float, seed: int
) -> tuple[np.ndarray, dict[str, float]]:
    """(rows uint8 [2 + answers, n, H, W, C] as the module says, what `main` prints) of n >= 2 test images x uint8."""
    n, context = len(x), glow.context_of(x)
    drawn = []
    for k in range(answers):
        drawn.append(np.asarray(glow.sample(n, temperature=temperature, seed=seed + k, context=context)))
    rows = np.stack([x, np.asarray(picture_of(glow.config, context)), *drawn])
    shades = rows / 255.0
    noise = np.random.default_rng(seed).random(x.shape, np.float32) / np.float32(glow.config.n_bins)
    others = tf.roll(context, 1, 0)
    bits = {name: glow.bits_per_dim(x, None, noise, c) for name, c in (("own", context), ("another", others))}
    again = np.stack([glow.context_of(answer) for answer in drawn])
    return rows, {
        "bits/dim given its own context": float(np.mean(bits["own"])),
        "given another's": float(np.mean(bits["another"])),
        "agreement": _root_mean_square(again - np.asarray(context)),
        "error of the answers' mean": _root_mean_square(shades[2:].mean(0) - shades[0]),
        "error of what was given": _root_mean_square(shades[1] - shades[0]),
        "spread of the answers": _root_mean_square(shades[2:].std(0)),
    }


def _root_mean_square(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def check(args: argparse.Namespace) -> ModelLocation:
    """Where the model is; settles args.data and args.scale.

    Raises:
      ValueError: the model makes no context of images, or its data is not there; the message is for the user.
    """
    location = find_model(args.model)
    if not location.config.context_from_image or location.config.takes_labels:
        raise ValueError(
            f"{args.model}: a model is needed that was trained with --context grayscale, downsampled:N or left_half"
        )
    check_out(args.out, [".png"])
    args.data = check_data(args, location)
    args.scale = enlargement_for(location.config.height, location.config.image_width)
    return location


def main(arguments: list[str] | None = None) -> None:
    """Draws answers to a few held-out images, and prints how good they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a run with a context made of images")
    parser.add_argument("--images", type=whole_number(2), default=6, help="how many test images (default 6)")
    parser.add_argument("--answers", type=whole_number(2), default=4, help="to each (default 4)")
    parser.add_argument("--temperature", type=number(0), default=0.7, help="(default 0.7)")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED - 100), default=0)
    parser.add_argument("--weights", choices=("best", "last", "average"), help="of the run (default: its own)")
    parser.add_argument("--out", type=Path, default=Path("restoration.png"), help="the picture, a .png")
    args = parser.parse_args(arguments)
    args.problem = args.data_dir = args.category = None
    try:
        location = check(args)
        data = load_data(args.data, location)
        glow = open_model(location, args.weights).glow
    except (ValueError, OSError) as error:
        parser.error(str(error))
    x, _ = next(iter(data.batches_in_order("test", min(args.images, data.n_test))))
    rows, figures = restore(glow, np.asarray(x), answers=args.answers, temperature=args.temperature, seed=args.seed)
    write_raster(args.out, rows.reshape(-1, *rows.shape[2:]), rows.shape[1], args.scale)
    print(f"{args.out}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
