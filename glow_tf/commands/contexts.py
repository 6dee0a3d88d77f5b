"""Models that are given a context: which commands they suit, and pictures as contexts. No TensorFlow here."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from glow_tf.commands.arguments import CommandError
from glow_tf.commands.folders import ModelLocation
from glow_tf.commands.image_arguments import expand, read_all, read_file

_MADE_OF = {
    "grayscale": "colours gray pictures",
    "downsampled": "enlarges small pictures",
    "left_half": "completes halves",
}


def refuse_contexts(location: ModelLocation, command: str) -> None:
    """Raises CommandError where the model is given a context, for a command that has no image to make it of."""
    if location.config.context_given:
        raise CommandError(f"{location.path} is given a context ({_what(location)}), for which {command} has no place")


def check_made_of_images(location: ModelLocation) -> None:
    """Raises CommandError where the model is given a context that is not made of its images."""
    if location.config.context_given and not location.config.context_from_image:
        raise CommandError(
            f"{location.path} is given a context ({_what(location)}) that is not made of images: give it in Python,"
            " Glow.log_prob(x, context=...)"
        )


def check_pictures_given(location: ModelLocation, *, given: bool) -> None:
    """Raises CommandError unless pictures are given where, and only where, the model makes its context of them."""
    config = location.config
    if given and not config.context_from_image:
        what = "its context is the class: give --label" if config.context == "label" else "it takes no pictures"
        raise CommandError(f"--context: {location.path} is not conditioned on pictures; {what}")
    check_made_of_images(location)
    if config.context_given and not given:
        kind = _MADE_OF[config.context.partition(":")[0]]
        raise CommandError(f"{location.path} {kind}: give --context IMAGE, one or several")


def read_contexts(args: argparse.Namespace, glow: Any) -> Any:
    """The contexts [N, H, W, C'] of the pictures that `check_images` settled.

    What is to be enlarged is read in the small size, so a picture may be as small as that.

    Raises:
      CommandError: pictures that cannot be used, by name.
    """
    config, places = glow.config, expand(args)
    n = config.context_factor
    if n == 1:
        return glow.context_of(read_all(args, places))
    small = config.height // n, config.image_width // n, config.channels
    of_data = [place for place in places if place.path is None]
    held = iter(read_all(args, of_data) if of_data else ())
    images = [
        next(held)
        if place.path is None
        else np.repeat(np.repeat(read_file(place.path, small, args.crop), n, 0), n, 1)
        for place in places
    ]
    return glow.context_of(np.stack(images))


def _what(location: ModelLocation) -> str:
    config = location.config
    return config.context if config.context_from_image else f"{config.context_channels} channels"
