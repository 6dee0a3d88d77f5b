"""The commands of `python -m glow_tf`, one module each.

A command's module has

    HELP                            one line for the list of commands
    add_arguments(parser)           its arguments
    check(args)                     raises CommandError for what cannot work; may settle values in args. With
                                    add_model among the arguments, args.location is there already
    run(args) -> None               does it, and prints what came of it
    NEEDS_TENSORFLOW = False        where it does without

and imports nothing at its top that imports TensorFlow, so that wrong arguments are answered at once. A new command is
one more line in COMMANDS.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from types import ModuleType
from typing import Any

import data_loaders
from data_loaders.tensorflow_import import import_tensorflow
from glow_tf.commands import train
from glow_tf.commands.arguments import PROGRAM, Parser, version
from glow_tf.commands.folders import find_model
from glow_tf.runtime import keep_freed_memory, prepare_gpus

TRAIN = "train"  # has a main of its own, which is also train.py's
COMMANDS = (
    "sample", "evaluate", "reconstruct", "encode", "decode", "interpolate", "attributes", "manipulate", "plot",
    "export", "demo", "import-openai",
)  # fmt: skip
_INTERRUPTED = 130  # what shells expect after SIGINT


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the chosen one's module is `args.module`."""
    parser = Parser(prog=PROGRAM, description="Trains Glow, and uses trained models.")
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    commands.add_parser(TRAIN, help=train.HELP)
    for name in COMMANDS:
        module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
        description = (module.__doc__ or "").partition("\n\n")[2] or module.HELP
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(module=module)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
      0; 2 after an error, which is one line on stderr; 130 after Ctrl-C. Wrong arguments exit with 2.
    """
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == [TRAIN]:
        return train.main(words[1:], f"{PROGRAM} {TRAIN}")
    args = make_parser().parse_args(words)
    module: ModuleType = args.module
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            if "model" in args:
                args.location = find_model(args.model)
            module.check(args)
            if getattr(module, "NEEDS_TENSORFLOW", True):
                keep_freed_memory()
                import_tensorflow()
                prepare_gpus(tf32=False)
            with data_loaders.as_data_errors():
                module.run(args)
        except KeyboardInterrupt:
            print(f"{PROGRAM}: stopped", file=sys.stderr)
            return _INTERRUPTED
        except BrokenPipeError:  # whoever read our output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except ImportError as error:
            return _fail(f"{error}; it comes with: pip install 'glow_tf[train]'")
        except MemoryError:
            return _fail("not enough memory; ask for less at a time (--batch, --n)")
        except (ValueError, OSError) as error:
            return _fail(_one_line(error))
        except Exception as error:
            if type(error).__name__ != "ResourceExhaustedError":  # of TensorFlow, which may not be there
                raise
            return _fail("the device has not enough memory; ask for less at a time (--batch, --n)")
    return 0


def _fail(message: str) -> int:
    print(f"{PROGRAM}: error: {message}", file=sys.stderr)
    return 2


def _one_line(error: Exception) -> str:
    """The message, its lines joined into one."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    for line in lines[1:]:
        text += f" {line}" if text.endswith((":", ".")) else f"; {line}"
    return text


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"{PROGRAM}: warning: {_one_line(message)}", file=sys.stderr)
