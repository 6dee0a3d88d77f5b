"""demo: a web page to play with a model, on this machine only.

Upload a picture or pick one, see what comes back from its latents, drag attributes, blend it with another, sample.
--attributes is what `attributes` wrote. Of --images, up to 64 are shown. With a model of faces, uploads are aligned by
the eyes. The page needs no internet; Ctrl-C stops it.

    python -m glow_tf demo exports/digits --attributes attributes.npz --images test:0-15 --problem digits
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from glow_tf.commands.arguments import CommandError, add_model, whole_number
from glow_tf.commands.contexts import check_made_of_images
from glow_tf.commands.image_arguments import add_images, check_images, expand, read_all
from glow_tf.serving.demo.ports import free_port

HELP = "a web page to play with a model"
_SMALLEST_FACES = 64  # pixels; models of smaller images than that are not taken for models of faces
_MOST_EXAMPLES = 64
_SAMPLES = 16  # to pick from where no --images are given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module."""
    add_model(parser)
    parser.add_argument(
        "--attributes", type=Path, help="what `attributes` wrote, or OpenAI's z_manipulate.npy: a slider for each"
    )
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="only these attributes, in this order (default: all)"
    )
    add_images(parser, "--images")
    parser.add_argument(
        "--faces",
        action=argparse.BooleanOptionalAction,
        help="find the face in an upload and align it (default: for square RGB models of 64 pixels or more)",
    )
    parser.add_argument(
        "--eyes",
        type=float,
        nargs=2,
        metavar=("X", "Y"),
        help="where the model's faces have the left eye, in shares of width and height (default 0.371 0.480, as the"
        " original's demo and CelebA-HQ)",
    )
    parser.add_argument(
        "--port", type=whole_number(0, 65535), default=7860, help="where it is served (default 7860; 0: any)"
    )


def check(args: argparse.Namespace) -> None:
    """Settles images and whether faces are aligned."""
    config = args.location.config
    if config.channels not in (1, 3):
        raise CommandError(f"pictures have 1 or 3 channels; {args.model} is for {config.channels}")
    check_made_of_images(args.location)
    if config.context_given and args.images is None:
        raise CommandError(f"{args.model} draws answers to pictures ({config.context}): give some, --images")
    if args.attributes is not None and not args.attributes.is_file():
        raise CommandError(f"--attributes {args.attributes}: there is no such file")
    if args.names is not None and args.attributes is None:
        raise CommandError("--names are of attributes: give --attributes too")
    if args.images is not None:
        check_images(args, args.location)
    if args.faces is None:
        args.faces = config.channels == 3 and config.height == config.image_width >= _SMALLEST_FACES
    if args.faces and config.channels != 3:
        raise CommandError(f"--faces: faces are found in RGB pictures; {args.model} is for {config.channels} channel")
    if args.eyes is not None:
        if not args.faces:
            raise CommandError("--eyes says where faces have their eyes: give --faces too")
        if not (0 < args.eyes[0] < 0.5 and 0 < args.eyes[1] < 1):
            raise CommandError("--eyes: X is between 0 and 0.5, Y between 0 and 1")
    free_port(args.port)


def run(args: argparse.Namespace) -> None:
    """Serves the page until it is stopped."""
    import signal
    import threading

    try:
        from glow_tf.serving.demo.faces import EYES
        from glow_tf.serving.demo.server import serving
    except ImportError as error:
        raise CommandError(f"{error}; what the page needs comes with: pip install 'glow_tf[demo]'") from None
    from glow_tf.commands.models import open_model
    from glow_tf.serving.demo.editor import Editor
    from glow_tf.serving.demo.page import build
    from glow_tf.serving.demo.uploads import Uploads

    examples = None if args.images is None else _read(args)
    loaded = open_model(args.location, args.weights)
    attributes, names = _attributes(args, loaded.glow)
    editor = Editor(loaded.glow, attributes, names)
    uploads = Uploads(args.location.config, tuple(args.eyes or EYES) if args.faces else None)
    if examples is None:
        examples = editor.sample(_SAMPLES, 0.7)
    first = editor.encode(examples[0])  # TensorFlow's first calls take seconds
    editor.picture(first, alphas=[0] * len(names), context=editor.context(examples[0]))
    title = f"Glow: {args.model.resolve().name}"
    stopped = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):  # before anybody can know of the page, and stop it
        signal.signal(signal_number, lambda *_: stopped.set())
    with serving(lambda: build(editor, uploads, examples, title), args.port) as address:
        print(f"{address} shows {loaded.weights}; Ctrl-C stops it", flush=True)
        stopped.wait()


def _read(args: argparse.Namespace) -> Any:
    """uint8 [N, H, W, C], the examples of --images."""
    places = expand(args)
    if len(places) > _MOST_EXAMPLES:
        warnings.warn(f"--images: the first {_MOST_EXAMPLES} of {len(places)} images are shown", stacklevel=2)
    return read_all(args, places[:_MOST_EXAMPLES])


def _attributes(args: argparse.Namespace, model: Any) -> tuple[Any, tuple[str, ...]]:
    from glow_tf.commands.models import warn_of_another
    from glow_tf.latents.files import read_attributes

    if args.attributes is None:
        return None, ()
    attributes = read_attributes(args.attributes, args.location.config.dimensions)
    warn_of_another(model, attributes.model, args.attributes)
    unknown = [name for name in args.names or () if name not in attributes.names]
    if unknown:
        raise CommandError(f"--names: there is no {', '.join(unknown)}; there are: {', '.join(attributes.names)}")
    return attributes, tuple(args.names or attributes.names)
