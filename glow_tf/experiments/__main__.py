"""python -m glow_tf.experiments --help."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's remarks on this machine; failures are exceptions

from glow_tf.experiments.command import main

if __name__ == "__main__":
    sys.exit(main())
