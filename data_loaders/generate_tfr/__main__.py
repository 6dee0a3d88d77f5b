"""See the package: python -m data_loaders.generate_tfr --help."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's remarks on this machine; failures are exceptions
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # nothing here is for a GPU, and every process would take memory of it

from data_loaders.errors import DataError
from data_loaders.generate_tfr.arguments import PROGRAM, parse
from data_loaders.tensorflow_import import import_tensorflow


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0, 1 after an error, which is one line on stderr, 130 after Ctrl-C."""
    args = parse(argv)
    try:
        import_tensorflow()  # after the arguments were checked
        from data_loaders.generate_tfr.run import generate

        generate(args)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: stopped; the same command goes on", file=sys.stderr)
        return 130
    except (DataError, OSError) as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
