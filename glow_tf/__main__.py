"""What to do with a trained model: python -m glow_tf --help."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's remarks on this machine; failures are exceptions

from glow_tf.commands import main

if __name__ == "__main__":
    sys.exit(main())
