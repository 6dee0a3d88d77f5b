"""The foreseen peak against that of a real training step, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from glow_tf.flow import budget

# VmHWM, as the kernel's other figure, ru_maxrss, begins with what the process that forked had.
PROGRAM = """
import json, re, sys
from glow_tf.runtime import keep_freed_memory
keep_freed_memory()
import numpy as np
import tensorflow as tf
import glow_tf
from glow_tf.flow.budget import Demand
from glow_tf.flow.room import choose, device_room
config = glow_tf.GlowConfig(image_size=32, n_levels=2, depth=6, width=256, flow_coupling="affine", learntop=True)
glow = glow_tf.Glow(config)
x = np.zeros([32, 32, 32, 3], np.uint8)
glow.initialize(x[:4])
demand = Demand(config, 32)
least, most = demand.peak("reversible"), demand.peak("store")
asked = {"least": "reversible", "most": "store"}.get(sys.argv[1]) or f"{(least + most) // 2 + device_room().held}B"
choice = choose(demand, asked, device_room())
glow.memory = choice.memory
trainer = glow_tf.Trainer(glow)
for _ in range(3):
    trainer.step(x, lr=1e-4)
print(json.dumps({
    "foreseen": choice.needs,
    "resident": 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]),
    "tensors": tf.config.experimental.get_memory_info("CPU:0")["peak"],
    "demand": demand.peak(choice.memory),
}))
"""


def measured(which):
    command = [sys.executable, "-c", PROGRAM, which]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_peak_is_foreseen():
    """No process takes more than was foreseen, nor much less; and `store` adds as much to tensors as it was said to."""
    least, between, most = (measured(which) for which in ("least", "between", "most"))
    for figure in (least, between, most):
        assert 0.8 * figure["foreseen"] < figure["resident"] <= figure["foreseen"], figure
    assert least["tensors"] < between["tensors"] < most["tensors"]
    said = (most["demand"] - least["demand"]) / budget._HOLES  # without holes between tensors
    assert 0.9 * said < most["tensors"] - least["tensors"] < 1.1 * said, (least, most)
