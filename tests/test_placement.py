"""Every operation of the hot path can run on a GPU, by TensorFlow's table of kernels, which CPU builds have too."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

import glow_tf
from glow_tf import runtime
from tests.random_weights import noise_for, random_glow, random_images

MODELS: dict[str, dict[str, Any]] = {  # splits are the same in all: one model has one
    "reversible, float32": {"memory": "reversible", "precision": "float32", "flow_coupling": "affine"},
    "store, bfloat16": {"memory": "store", "precision": "bfloat16", "flow_coupling": "additive", "n_levels": 1},
    "checkpoint, tf32, LU, classes": {
        "memory": "checkpoint", "precision": "tf32", "lu_decomposed": True, "ycond": True, "n_y": 3, "weight_y": 0.1,
        "n_levels": 1,
    },
}  # fmt: skip
PYTHON = {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


@functools.cache
def registered(op: str, device: str) -> list[Any]:
    devices = ("GPU", "DEFAULT") if device == "GPU" else (device,)  # those of DEFAULT work on the host's memory
    return [kernel for kernel in kernels.get_registered_kernels_for_op(op).kernel if kernel.device_type in devices]


def kernel_of(node: Any, device: str = "GPU") -> Any:
    """The kernel for a node's types; None where there is none."""
    for kernel in registered(node.op, device):
        for constraint in kernel.constraint:
            value, allowed = node.attr[constraint.name], constraint.allowed_values.list.type
            if not set(value.list.type or [value.type]) <= set(allowed):
                break
        else:
            return kernel
    return None


def nodes_of(function: Any, *args: Any) -> tuple[list[Any], list[Any]]:
    """(the nodes of a tf.function outside of what XLA compiles, those inside), loops and branches included."""
    graph = function.get_concrete_function(*args).graph.as_graph_def()
    bodies = {body.signature.name: body for body in graph.library.function}
    compiled = {name for name, body in bodies.items() if body.attr["_XlaMustCompile"].b}
    inside = set()
    while compiled:
        name = compiled.pop()
        if name not in inside:
            inside.add(name)
            called = [value.func.name for node in bodies[name].node_def for value in node.attr.values()]
            compiled |= {other for other in called if other in bodies}
    outside = [*graph.node, *(node for name, body in bodies.items() if name not in inside for node in body.node_def)]
    return outside, [node for name in inside for node in bodies[name].node_def]


def hot_path(glow: glow_tf.Glow) -> dict[str, tuple[Any, ...]]:
    """Every function that images go through, with its arguments."""
    config = glow.config
    x, noise = tf.constant(random_images(config, 2)), tf.constant(noise_for(config, 2))
    label = tf.constant([0, 1] if config.ycond else [], tf.int32)
    flat = tf.zeros([2, config.dimensions])
    trainer = glow_tf.Trainer(glow)
    y = label if config.ycond else None
    numbers = [tf.constant(0, tf.int64), tf.constant(0, tf.int64), tf.constant(0.1, tf.float64)]
    step = (x, y, None, None, *numbers, tf.zeros([2], tf.float64), tf.constant(value=True))
    traced = {
        "log_prob": lambda: glow.functions.log_prob(x, label, noise),
        "encode": lambda: glow.functions.to_flat(noise, label),
        "decode": lambda: glow.functions.from_flat(flat, label),
    }
    return {
        "training step": (trainer._step.run, *step),
        "initialisation": (glow._traced_initialize, x, noise),
        **{name: (tf.function(function, autograph=False),) for name, function in traced.items()},
    }


@pytest.mark.parametrize(("model", "jit"), [*((model, False) for model in MODELS), ("reversible, float32", True)])
def test_every_operation_has_a_kernel_for_gpus(monkeypatch, model, jit):
    monkeypatch.setattr(runtime, "uses_gpu", lambda: True)
    loops = 0
    for name, (function, *args) in hot_path(random_glow(**MODELS[model], jit=jit)).items():
        outside, inside = nodes_of(function, *args)
        assert bool(inside) == (jit and name != "initialisation")
        lacking = {node.op for node in outside if kernel_of(node) is None}
        assert not lacking, f"{name}: no kernel for GPUs of {lacking}"
        lacking = {node.op for node in inside if kernel_of(node, "XLA_GPU_JIT") is None}
        assert not lacking, f"{name}: no kernel for XLA on GPUs of {lacking}"
        assert not PYTHON & {node.op for node in [*outside, *inside]}
        integers = [n for n in outside if n.attr["T"].type == tf.int32.as_datatype_enum and n.op in ("AddV2", "Less")]
        for node in integers:  # what loops count by
            assert set(kernel_of(node).host_memory_arg) == {"x", "y", "z"}, node.name
        loops += bool(integers)
    assert loops


def test_what_no_gpu_can_do_is_seen():
    def function(x):
        return tf.strings.as_string(tf.numpy_function(lambda y: y, [x], x.dtype))

    nodes, _ = nodes_of(tf.function(function, autograph=False), tf.eye(2))
    assert "AsString" in {node.op for node in nodes if kernel_of(node) is None}
    assert PYTHON & {node.op for node in nodes}
