"""Do the directions of attributes change the attributes? A classifier that never saw the flow is asked.

    python -m tests.benchmarks.attribute_scores runs/faces --attributes attributes.npz --names Smiling Male

trains a small convolutional network on the labelled training images of the run's data, moves held-out images along each
direction, and prints the network's mean score (the probability it gives the attribute) for every alpha. It ends with an
error if a score does not rise from each alpha to the next.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import keras
import numpy as np

from glow_tf.commands.arguments import add_batch, add_model, check_out, whole_number
from glow_tf.commands.attributes import labels_of
from glow_tf.commands.batches import decode, encode
from glow_tf.commands.data import add_data, check_data, load_data
from glow_tf.commands.folders import find_model
from glow_tf.commands.models import open_model
from glow_tf.commands.outputs import write_rows
from glow_tf.latents.directions import along
from glow_tf.latents.files import read_attributes
from glow_tf.latents.flatten import unflatten_latents

ALPHAS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)


def classifier(shape: tuple[int, ...], attributes: int) -> keras.Model:
    """uint8 images -> [N, attributes] probabilities."""
    layers = keras.layers
    model = keras.Sequential([keras.Input(shape), layers.Rescaling(1 / 128, -1), layers.RandomFlip("horizontal")])
    for width in (24, 48, 96):
        model.add(layers.Conv2D(width, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
    for layer in (layers.Flatten(), layers.Dropout(0.5), layers.Dense(attributes, activation="sigmoid")):
        model.add(layer)
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    return model


def images_of(data: Any, split: str, n: int) -> np.ndarray:
    """The first n images of a split, uint8 [n, H, W, C]; all of them if n is 0."""
    images = np.concatenate([x.numpy() for x, _ in data.batches_in_order(split, 100)])
    return images[: n or len(images)]


def area_under_curve(score: np.ndarray, has: np.ndarray) -> float:
    """How often an image with the attribute scores higher than one without."""
    differences = score[has][:, None] - score[~has][None]
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))


def main() -> None:
    """Trains the classifier, moves the images, prints the scores."""
    parser = argparse.ArgumentParser(description="A classifier's scores of images that are moved along attributes.")
    add_model(parser)
    add_data(parser)
    parser.add_argument("--attributes", type=Path, required=True, help="what `python -m glow_tf attributes` wrote")
    parser.add_argument("--names", nargs="+", required=True, help="which of them")
    parser.add_argument("--n", type=whole_number(1), default=100, help="held-out images that are moved (default 100)")
    parser.add_argument("--epochs", type=whole_number(1), default=20, help="of the classifier's training (default 20)")
    parser.add_argument("--strips", type=Path, help="a PNG of the first 8 images, moved along each direction")
    add_batch(parser)
    args = parser.parse_args()
    found = find_model(args.model)
    if args.strips:
        check_out(args.strips, [".png"])
    data = load_data(check_data(args, found), found)
    held = read_attributes(args.attributes, found.config.dimensions)
    directions = [held.direction(name) for name in args.names]
    values = {s: labels_of(data, s, wanted=args.names, classes=False)[1] > 0 for s in ("train", "test")}

    keras.utils.set_random_seed(0)
    judge = classifier(data.image_shape, len(args.names))
    judge.fit(images_of(data, "train", 0), values["train"], batch_size=64, epochs=args.epochs, verbose=2)
    test = images_of(data, "test", 0)
    scores = judge.predict(test, verbose=0)
    for i, name in enumerate(args.names):
        curve = area_under_curve(scores[:, i], values["test"][:, i])
        print(f"{name}: the classifier's area under the curve on {len(test)} held-out images is {curve:.3f}")

    opened = open_model(found, args.weights)
    latents = encode(opened.glow, test[: args.n], held.label, args.batch)
    falling, strips = [], []
    print("| alpha | " + " | ".join(f"{alpha:g}" for alpha in ALPHAS) + " |\n" + "|---" * (len(ALPHAS) + 1) + "|")
    for i, name in enumerate(args.names):
        moved = along(latents, directions[i], ALPHAS).reshape(-1, found.config.dimensions)
        pictures = decode(opened.glow, unflatten_latents(found.config, moved), held.label, args.batch)
        mean = judge.predict(pictures, verbose=0)[:, i].reshape(-1, len(ALPHAS)).mean(0)
        print(f"| {name} | " + " | ".join(f"{score:.3f}" for score in mean) + " |", flush=True)
        falling += [name] if (np.diff(mean) <= 0).any() else []
        strips.append(pictures.reshape(-1, len(ALPHAS), *data.image_shape)[:8])
    if args.strips:
        write_rows([args.strips], np.concatenate(strips), 1, 1.0)
    if falling:
        raise SystemExit(f"the score of {', '.join(falling)} does not rise all the way")


if __name__ == "__main__":
    main()
