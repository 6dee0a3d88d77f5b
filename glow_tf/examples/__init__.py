"""Worked examples of the flow inside other models, each a command: `python -m glow_tf.examples.NAME --help`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's remarks on this machine; failures are exceptions
