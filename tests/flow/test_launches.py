"""How many kernels a flow step is on a GPU: they grow by no more than a tenth without being noticed."""

from __future__ import annotations

import collections
import math
import re
from typing import Any

import pytest
import tensorflow as tf
from packaging.version import Version

import glow_tf
from glow_tf import runtime
from glow_tf.flow.budget import Demand
from tests.benchmarks.launches import by_xla, conditions, graphs_of, in_executor, program_of
from tests.emulated_tf32 import tf32_off  # noqa: F401
from tests.flow.test_level import images, level_and_steps
from tests.flow.test_scan import assert_same, there_and_back
from tests.random_weights import random_glow, random_images

MODEL: dict[str, Any] = {
    "image_size": 8,
    "channels": 3,
    "width": 8,
    "depth": 3,
    "n_levels": 1,
    "flow_coupling": "affine",
}
# Forward and backward, counted on a CPU with TensorFlow 2.18. In the form for CPUs it is 54 + 120 and 20 + 68.
EXECUTOR = {"reversible": 45 + 93, "store": 45 + 61}
# XLA's compiler for CPUs fuses less from TensorFlow 2.19 on; what it does for GPUs was seen with 2.18 only.
FUSES_LESS = Version(tf.__version__) >= Version("2.19")
XLA = {"reversible": 26 + 67, "store": 32 + 48} if FUSES_LESS else {"reversible": 18 + 54, "store": 25 + 43}


def assert_no_more(loops, known):
    assert len(loops) == 2  # forward and backward
    count = sum(counter.total() for counter in loops)
    assert count <= 1.1 * known, loops
    if not tf.config.list_physical_devices("GPU"):  # XLA's GPU compiler joins kernels to graphs, which count as one
        assert count >= 0.8 * known, loops


@pytest.mark.parametrize("memory", EXECUTOR)
def test_of_the_executor(monkeypatch, memory):
    monkeypatch.setattr(runtime, "uses_gpu", lambda: True)
    trainer = glow_tf.Trainer(random_glow(memory=memory, **MODEL))
    x = random_images(trainer.glow.config, 2)
    found = in_executor(graphs_of(lambda: trainer.step(x))[1])
    assert_no_more([counter for name, counter in found.items() if name], EXECUTOR[memory])


@pytest.mark.parametrize("memory", XLA)
def test_of_xla(monkeypatch, memory):
    monkeypatch.setattr(runtime, "uses_gpu", lambda: True)
    level = random_glow(memory=memory, jit=True, **MODEL).levels[0]
    assert_no_more(by_xla(level, (2, 4, 4, 12), memory), XLA[memory])


def test_relu_and_bias_are_inside_the_products():
    """Of both hidden layers: a pass of its own over their activations takes as long as some of the products."""
    glow = random_glow(**MODEL)
    graph = graphs_of(lambda: glow.encode(random_images(glow.config, 2)))[1]
    operations = collections.Counter(node.op for node in graph.node)
    assert operations["Relu"] == 0
    assert operations["_FusedMatMul"] >= 2


def test_xla_makes_nothing_larger_than_what_is_kept():
    """A strided slice at a place that is known only when it runs made it pad whole stacks, to twice every side."""
    model = MODEL | {"depth": 8}  # so that the stacks are the largest tensors
    level = random_glow(memory="store", jit=True, **model).levels[0]
    program = program_of(level, (2, 4, 4, 12), "store")
    sizes = [math.prod(map(int, shape.split(","))) for shape in re.findall(r"\bf32\[([\d,]+)\]", program)]
    kept = Demand(glow_tf.GlowConfig(**model), 2).bytes_of(0, "windows") // 4 * model["depth"]
    assert max(sizes) == kept


def test_the_host_waits_for_nothing_within_a_step_on_a_gpu(monkeypatch):
    """For nothing but the numbers that the loop reads when the step is over."""
    monkeypatch.setattr(runtime, "uses_gpu", lambda: True)
    trainer = glow_tf.Trainer(random_glow(**MODEL | {"n_levels": 2}))
    x = random_images(trainer.glow.config, 2)
    assert conditions(graphs_of(lambda: trainer.step(x))[0]) == 0


def test_weights_folded_once_for_all_steps_give_the_same_gradients(monkeypatch):
    level, _ = level_and_steps("invconv, affine")

    def run(x):
        return there_and_back(level.forward, level.inverse, x, level.trainable_variables)

    wanted = run(images())
    monkeypatch.setattr(runtime, "uses_gpu", lambda: True)
    sizes = tf.TensorSpec([None, None, None, level.channels], tf.float64)
    ours = tf.function(run, input_signature=[sizes], autograph=False)(images())
    assert_same(ours, wanted, "gradient float64")
