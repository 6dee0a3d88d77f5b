"""sample: draws samples into one PNG, or into a folder of single ones.

Several temperatures give one row each, of the same latents; otherwise the images form a square. Without --label, the
columns of a class-conditional model's picture are its classes, in turn.

A model that was trained with --context grayscale, downsampled:N or left_half colours, enlarges or completes pictures:
each picture of --context has a row, itself as the model is given it first, then --n answers.

Where --out does not end in .png it is a folder: 00000.png, 00001.png and so on, in the model's size, as tools that
compute the FID read them; with several temperatures in a sub-folder for each, T0.70 for example.

    python -m glow_tf sample runs/digits --temperature 0.7 --out samples.png
    python -m glow_tf sample runs/digits --temperature 1 --n 50000 --batch 100 --out samples
    python -m glow_tf sample runs/colours --context photo.png test:0-5 --out colourings.png
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glow_tf.commands import outputs
from glow_tf.commands.arguments import (
    MAX_SEED,
    CommandError,
    add_batch,
    add_model,
    add_scale,
    check_out,
    check_out_folder,
    number,
    whole_number,
)
from glow_tf.commands.contexts import check_pictures_given, read_contexts
from glow_tf.commands.image_arguments import add_images, check_images, expand
from glow_tf.images import enlargement_for

HELP = "draws samples into one PNG, or into a folder of them"
_CHUNK = 1000  # latents of a folder's images that are drawn at once, whatever --batch is


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    parser.add_argument("--n", type=whole_number(1), help="images of each temperature (default 16; 8 of several)")
    parser.add_argument(
        "--temperature", type=number(0), nargs="+", default=[0.7], metavar="T", help="one or several (default 0.7)"
    )
    about = "pictures to colour, enlarge or complete, for a model trained for that: "
    add_images(parser, "--context", about)
    parser.add_argument("--label", type=whole_number(0), nargs="+", metavar="Y", help="classes, in turn")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0, help="of the latents (default 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("samples.png"), help="the picture, .png, or a folder (default samples.png)"
    )
    parser.add_argument("--columns", type=whole_number(1), help="images in a row (default: a square)")
    add_scale(parser)
    add_batch(parser)


def check(args: argparse.Namespace) -> None:
    """Settles n, columns and scale."""
    config, several = args.location.config, len(args.temperature) > 1
    if several and args.columns is not None:
        raise CommandError("--columns is for one temperature; several have a row of --n images each")
    if args.label is not None:
        if not config.takes_labels:
            raise CommandError(f"--label: {args.model} is not class-conditional")
        if max(args.label) >= config.n_y:
            raise CommandError(f"--label {max(args.label)}: {args.model} has the classes 0 to {config.n_y - 1}")
    check_pictures_given(args.location, given=args.context is not None)
    if args.context is not None:
        _check_context(args)
        return
    args.n = args.n or (8 if several else 16)
    if args.out.suffix.lower() != ".png":
        _check_folder(args)
        return
    args.columns = args.n if several else args.columns or math.ceil(math.sqrt(args.n))
    args.scale = args.scale or enlargement_for(config.height, config.image_width)
    outputs.check_pixels(args.n * len(args.temperature), config.height, config.image_width, args.scale)
    check_out(args.out, [".png"])


def _check_context(args: argparse.Namespace) -> None:
    """Settles n, scale and the pictures that are the contexts."""
    if args.columns is not None:
        raise CommandError("--columns is for samples without --context; with it each picture has a row")
    args.n = args.n or 8
    args.images = args.context
    check_images(args, args.location)
    height, width = args.location.config.image_shape[:2]
    args.scale = args.scale or enlargement_for(height, width)
    outputs.check_pixels((args.n + 1) * len(expand(args)) * len(args.temperature), height, width, args.scale)
    check_out(args.out, [".png"])


def _check_folder(args: argparse.Namespace) -> None:
    """Settles the scale, and that the folder will hold no other images than those of this call."""
    if args.columns is not None:
        raise CommandError(f"--columns is for one picture; --out {args.out} is a folder of single ones")
    if args.location.config.channels not in (1, 3):
        raise CommandError(f"PNGs have 1 or 3 channels; {args.model} is for {args.location.config.channels}")
    args.scale = args.scale or 1
    check_out_folder(args.out)
    written = {path for paths in _paths(args) for path in paths}
    other = next((path for path in args.out.rglob("*.png") if path not in written), None)
    if other is not None:
        raise CommandError(f"--out {args.out} holds other images, such as {other}; name another folder")


def _paths(args: argparse.Namespace) -> list[list[Path]]:
    """Of the single PNGs, by temperature."""
    one = len(args.temperature) == 1
    folders = [args.out if one else args.out / f"T{temperature:.2f}" for temperature in args.temperature]
    return [[folder / f"{i:05d}.png" for i in range(args.n)] for folder in folders]


def run(args: argparse.Namespace) -> None:
    """Draws and writes them."""
    import numpy as np

    from glow_tf.commands.models import open_model

    loaded = open_model(args.location, args.weights)
    config = loaded.glow.config
    labels = np.asarray(args.label or [0])
    if config.takes_labels and args.label is None:
        labels = np.arange(config.n_y)
    if args.context is not None:
        _answer(args, loaded, labels)
        return
    write = _write_picture if args.out.suffix.lower() == ".png" else _write_folder
    write(args, loaded.glow, labels)
    temperatures = ", ".join(f"{t:g}" for t in args.temperature)
    rows_are = "rows of temperature" if len(args.temperature) > 1 else "temperature"
    n = args.n * len(args.temperature)
    print(f"{args.out}: {n} samples, {rows_are} {temperatures}, seed {args.seed}; {loaded.weights}")


def _answer(args: argparse.Namespace, loaded: Any, labels: Any) -> None:
    """A row for every picture and temperature: the context, and what was drawn for it."""
    import numpy as np

    from glow_tf.commands.batches import decode
    from glow_tf.flow.contexts import picture_of

    glow, n, temperatures = loaded.glow, args.n, args.temperature
    contexts = read_contexts(args, glow)
    pictures = len(contexts)
    latents = [np.asarray(latent) for latent in glow.sample_latents(n, 1.0, args.seed)]
    warm = [np.concatenate([t * latent for t in temperatures]) for latent in latents]
    eps = [np.concatenate([latent] * pictures) for latent in warm]
    given = np.repeat(np.asarray(contexts), n * len(temperatures), 0)
    y = np.tile(np.resize(labels, n), pictures * len(temperatures))
    images = decode(glow, eps, y, args.batch, "sampling", given)
    first = np.repeat(np.asarray(picture_of(glow.config, contexts)), len(temperatures), 0)
    rows = np.concatenate([first[:, None], images.reshape(-1, n, *images.shape[1:])], 1)
    outputs.write_raster(args.out, rows.reshape(-1, *images.shape[1:]), n + 1, args.scale)
    shown = ", ".join(f"{t:g}" for t in temperatures)
    print(
        f"{args.out}: {n} answers to each of {pictures} pictures ({glow.config.context}), which come first;"
        f" temperature {shown}, seed {args.seed}; {loaded.weights}"
    )


def _write_picture(args: argparse.Namespace, glow: Any, labels: Any) -> None:
    import numpy as np

    from glow_tf.commands.batches import decode

    latents = [np.asarray(latent) for latent in glow.sample_latents(args.n, 1.0, args.seed)]
    rows = [[temperature * latent for latent in latents] for temperature in args.temperature]
    eps = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    y = np.resize(np.resize(labels, args.columns), args.n)
    images = decode(glow, eps, np.tile(y, len(rows)), args.batch, "sampling")
    outputs.write_raster(args.out, images, args.columns, args.scale)


def _write_folder(args: argparse.Namespace, glow: Any, labels: Any) -> None:
    import numpy as np

    from data_loaders.progress import Progress
    from glow_tf.commands.batches import decode_batch

    y = np.resize(labels, args.n)
    with Progress("sampling", args.n * len(args.temperature)) as progress:
        for temperature, paths in zip(args.temperature, _paths(args), strict=True):
            for begin, latents in _latents(glow, args.n, args.seed, args.batch):
                end = begin + len(latents)
                images = decode_batch(glow, temperature * latents, y[begin:end])
                for path, image in zip(paths[begin:end], images, strict=True):
                    outputs.write_raster(path, image[None], 1, args.scale)
                progress.update(len(images))


def _latents(glow: Any, n: int, seed: int, batch: int) -> Iterator[tuple[int, Any]]:
    """(number of its first, flat latents) of every batch: as in a picture, up to _CHUNK; then of further seeds."""
    import numpy as np

    from glow_tf.commands.batches import in_batches
    from glow_tf.latents.flatten import flatten_latents

    for begin in range(0, n, _CHUNK):
        more = int(np.random.SeedSequence([seed, begin]).generate_state(1)[0]) & MAX_SEED
        chunk = glow.sample_latents(min(_CHUNK, n - begin), 1.0, more if begin else seed)
        for latents in in_batches(np.asarray(flatten_latents(chunk)), batch):
            yield begin, latents
            begin += len(latents)
