"""How many kernels a GPU would be asked to run, read off the programs: TensorFlow's optimised graphs, and XLA's.

Of the executor's graph, nodes count that compute on float numbers: not those that pass a tensor on, and not integers,
which stay on the host. Of XLA's program, every instruction of a loop's body counts that is not only a name for data.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

from glow_tf.flow.level import FlowLevel

# Operations without a kernel of their own: what only names, passes on or reshapes a tensor, and control flow.
_FREE = {
    "Const", "HostConst", "Identity", "IdentityN", "NoOp", "Placeholder", "_Arg", "_Retval", "StopGradient",
    "PreventGradient", "Reshape", "ExpandDims", "Squeeze", "Shape", "ShapeN", "Size", "Rank",
    "Enter", "Exit", "Switch", "Merge", "NextIteration", "LoopCond", "_SwitchN", "If", "StatelessIf", "While",
    "StatefulPartitionedCall", "PartitionedCall",
    "TensorListReserve", "EmptyTensorList", "TensorListSetItem", "TensorListGetItem", "TensorListElementShape",
    "ReadVariableOp", "VarHandleOp",
}  # fmt: skip
_ON_THE_HOST = {tf.int32.as_datatype_enum, tf.bool.as_datatype_enum, tf.string.as_datatype_enum}
_NAMES_ONLY = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "copy-done"}
_LOOP = re.compile(r"(?:^|/)(while(?:_\d+)?/body/_\d+)/")
_INSTRUCTION = re.compile(r" = (?:\(.*?\) |\S+ )([\w\-]+)\(")


def graphs_of(call: Any) -> tuple[tf.compat.v1.GraphDef, tf.compat.v1.GraphDef]:
    """The largest graph that a call traces and runs: as it was traced, and as TensorFlow's optimisers left it."""
    context.context().enable_run_metadata()
    try:
        call()
        graphs = context.context().export_run_metadata().function_graphs
    finally:
        context.context().disable_run_metadata()
    largest = max(graphs, key=lambda graph: len(graph.post_optimization_graph.node))
    return largest.pre_optimization_graph, largest.post_optimization_graph


def in_executor(graph: tf.compat.v1.GraphDef) -> dict[str, Counter[str]]:
    """Kernels by operation, of every loop's body and, as "", of what is outside of loops."""
    found: dict[str, Counter[str]] = {"": Counter()}
    for node in graph.node:
        loop = _LOOP.search(node.name)
        counter = found.setdefault(loop[1] if loop else "", Counter())
        if launches(node):
            counter[node.op] += 1
    return {name: counter for name, counter in found.items() if counter}


def launches(node: Any) -> bool:
    """Whether a node of a graph runs a kernel on a GPU."""
    kinds = {node.attr[name].type for name in ("T", "dtype", "SrcT", "element_dtype") if name in node.attr}
    return node.op not in _FREE and not (kinds and kinds <= _ON_THE_HOST)


def conditions(graph: tf.compat.v1.GraphDef) -> int:
    """Branches of a graph as it was traced: for each the host waits for a number of the GPU."""
    return sum(node.op in ("If", "StatelessIf") for node in graph.node)


def by_xla(level: FlowLevel, shape: tuple[int, ...], memory: str) -> list[Counter[str]]:
    """Kernels by instruction, of the bodies of a level's forward and backward loops, for images of this shape."""
    bodies = _bodies_of_loops(_computations(program_of(level, shape, memory)))
    return [Counter(op for op in body if op not in _NAMES_ONLY) for body in bodies]


def program_of(level: FlowLevel, shape: tuple[int, ...], memory: str) -> str:
    """What XLA makes of a level's forward and backward loops together, for images of this shape."""
    folded = level.folded()

    @tf.function(jit_compile=True, autograph=False)
    def gradients(x: tf.Tensor, *flat: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, *flat])
            steps = tf.nest.pack_sequence_as(folded.steps, flat)
            y, log_det = level.forward_folded(folded._replace(steps=steps), x, memory)
        unused = tf.UnconnectedGradients.ZERO
        return tape.gradient([y, log_det], [x, *flat], [y, log_det], unconnected_gradients=unused)

    flat = tf.nest.flatten(folded.steps)
    return str(gradients.experimental_get_compiler_ir(tf.zeros(shape), *flat)(stage="optimized_hlo"))


def _computations(program: str) -> dict[str, list[str]]:
    """{name: lines} of an HLO module's text."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in program.splitlines():
        if head := re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            lines = found.setdefault(head[1], [])
        elif " = " in line:
            lines.append(line)
    return found


def _bodies_of_loops(computations: dict[str, list[str]]) -> list[list[str]]:
    """The instructions of each loop's body, in the order of the program."""
    found = []
    for lines in computations.values():
        for line in lines:
            instruction = _INSTRUCTION.search(line)
            if instruction and instruction[1] == "while":
                body = re.search(r"body=%?([\w.\-]+)", line)
                assert body
                matches = [_INSTRUCTION.search(inner) for inner in computations[body[1]]]
                found.append([match[1] for match in matches if match])
    return found
