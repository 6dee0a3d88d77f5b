#!/usr/bin/env python
"""Trains Glow: python train.py --help. Under horovodrun or mpirun, with one process per GPU."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's remarks on this machine; failures are exceptions

from glow_tf.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
