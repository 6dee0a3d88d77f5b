#!/usr/bin/env python
"""Trains Glow: python train.py --help. Under horovodrun or mpirun, with one process per GPU."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's remarks on this machine; failures are exceptions


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0, 1 after an error, 130 after Ctrl-C, 143 after SIGTERM."""
    try:
        from data_loaders.tensorflow_import import import_tensorflow
        from glow_tf.runtime import keep_freed_memory
        from glow_tf.training import flags

        model, config = flags.parse(argv)
        keep_freed_memory()
        import_tensorflow()  # after the flags were checked
        from glow_tf.training import train

        return train(model, config).exit_code
    except KeyboardInterrupt:
        print("train.py: stopped", file=sys.stderr)
        return 130
    except ValueError as error:
        if not type(error).__module__.startswith(("glow_tf", "data_loaders")):
            raise  # not one of ours: a fault in the program, with its traceback
        print(f"train.py: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
