"""Memory that the process keeps: no page faults once every size was there."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from glow_tf.runtime import keep_freed_memory
assert keep_freed_memory()
import tensorflow as tf
double = tf.function(lambda x: tf.nn.relu(tf.nn.relu(x) + 1.0) * 2.0)
x = tf.ones([64, 1024, 256])  # 64 MiB, which glibc would map afresh for every use
for _ in range(4):
    double(x).numpy()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    double(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="these are settings of glibc")
def test_large_tensors_cause_no_page_faults():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 10 * 2**26 // 4096 // 100  # one in a hundred of what mapping them takes
