"""The arguments, checked before any work. No TensorFlow here."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import NoReturn

from data_loaders.cores import usable_cores
from data_loaders.generate_tfr.formats import FORMATS

PROGRAM = "python -m data_loaders.generate_tfr"
_REALNVP_SIZE = 96
_VALIDATION = 3000  # images of CelebA-HQ


class _Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: error: {' '.join(message.split())}\n")


def make_parser() -> argparse.ArgumentParser:
    """The parser."""
    lines = "\n".join(f"  {name:15}{form.about}" for name, form in FORMATS.items())
    parser = _Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Makes TFRecords as OpenAI's Glow has them. A stopped run goes on with the same command.",
        epilog=f"formats:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("format", choices=FORMATS, metavar="FORMAT", help="what SOURCE is; see below")
    parser.add_argument("source", metavar="SOURCE", help="folder of the images")
    parser.add_argument("out", metavar="OUT", help="folder of the TFRecords; lsun makes a folder CATEGORY in it")
    sizes = ", ".join(f"{name} {form.size}" for name, form in FORMATS.items() if form.size)
    parser.add_argument("--size", type=_whole(4), metavar="N", help=f"largest resolution (default: {sizes})")
    parser.add_argument(
        "--min_size", type=_whole(4), metavar="N", help="smallest one (default: 4; lsun --realnvp, imagenet-oord: N)"
    )
    parser.add_argument(
        "--shards",
        type=_whole(1),
        nargs=2,
        metavar=("TRAIN", "VALIDATION"),
        help="files of each split and resolution (default: one for 256, 1024 images, at most 2048, 64)",
    )
    parser.add_argument("--workers", type=_whole(1), metavar="N", help="processes (default: the processors there are)")
    parser.add_argument("--seed", type=_whole(0), default=0, metavar="N", help="of the order of the images (default 0)")
    parser.add_argument("--category", default="", help="lsun: which category")
    parser.add_argument("--realnvp", action="store_true", help="lsun: shorter side 96, for random crops in training")
    text = f"celebahq: how many images, the first ones, are for validation (default {_VALIDATION})"
    parser.add_argument("--validation", type=_whole(1), metavar="N", help=text)
    parser.add_argument("--skip_corrupt", action="store_true", help="leave out images that cannot be read")
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The arguments, with defaults filled in. Exits with one line on stderr and code 2 where they are wrong."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.format != "lsun" and (args.category or args.realnvp):
        parser.error(f"--category and --realnvp are of the format lsun, not {args.format}")
    if args.format == "lsun" and not args.category:
        parser.error("the format lsun needs --category, such as bedroom")
    if os.path.basename(args.category) != args.category:
        parser.error(f"--category {args.category!r} is no name of a folder")
    if args.format != "celebahq" and args.validation is not None:
        parser.error(f"--validation is of the format celebahq, not {args.format}")
    args.validation = args.validation or _VALIDATION
    args.size = args.size or (_REALNVP_SIZE if args.realnvp else FORMATS[args.format].size)
    if args.size is None:
        parser.error(f"the format {args.format} needs --size")
    if args.min_size is not None and args.min_size > args.size:
        parser.error(f"--min_size {args.min_size} is above --size {args.size}")
    if not os.path.isdir(args.source):
        parser.error(f"there is no folder {args.source}")
    args.out = os.path.join(args.out, args.category) if args.category else args.out
    if os.path.exists(args.out) and not os.path.isdir(args.out):
        parser.error(f"{args.out} is no folder")
    args.workers = args.workers or usable_cores()
    return args


def _whole(at_least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not at_least <= int(text) <= 2**31:
            raise argparse.ArgumentTypeError(f"{text!r}: a whole number of at least {at_least} is needed")
        return int(text)

    return parse
