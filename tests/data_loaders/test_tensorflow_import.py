"""TensorFlow is imported without what takes long, and all of it is there when it is used."""

import subprocess
import sys

PROGRAM = """
import os, sys
from data_loaders.tensorflow_import import import_tensorflow
import_tensorflow()
print(sorted({name.split(".")[0] for name in sys.modules} & {"keras", "tf_keras", "pandas"}))
assert "TF_USE_LEGACY_KERAS" not in os.environ
import tensorflow as tf
print(tf.keras.layers.Dense(3)(tf.ones([1, 2])).shape)
import tf_keras
print(tf_keras.layers.Dense(4)(tf.ones([1, 2])).shape)
"""


def test_keras_is_imported_when_it_is_used():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["[]", "(1, 3)", "(1, 4)"]
