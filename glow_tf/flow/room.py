"""What memory there is for this process, and what a model keeps for its gradient within it."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import NamedTuple

import tensorflow as tf

from glow_tf.config import ConfigError
from glow_tf.flow.budget import Demand
from glow_tf.flow.memory import AUTO, Memory, check_fits, in_words, parse_memory, size_text, spelled
from glow_tf.runtime import (
    address_space_limit,
    gpu_memory_limit,
    host_memory,
    host_memory_free,
    host_memory_limit,
    local_processes,
    resident_memory,
)

FOR_OTHERS = 0.1  # share of a machine's or a GPU's room that auto leaves to other programs
_UNFORESEEN = 0.05  # share of the room that auto leaves alone where a limit is set for this job
_OF_GPU_LIBRARIES = 256 * 2**20  # their work spaces, and kernels' code; not measured


class MemoryBudgetError(ConfigError):
    """A model does not fit into the memory that there is, or that it was given."""


class Room(NamedTuple):
    """What a device has for one process, in bytes.

    has: in all, whoever holds it. free: for this process, with what it holds already. held: by this process for other
    things than tensors. name: for messages. shared: with programs of others.
    """

    has: int
    free: int
    held: int
    name: str
    on_gpu: bool = False
    shared: bool = True


class Choice(NamedTuple):
    """What is kept for the gradient; the bytes of a step's peak; both in one line with the reason; a warning or ""."""

    memory: Memory
    needs: int
    line: str
    warning: str = ""


def device_room() -> Room:
    """The room on this process's GPU, or in the machine's memory as far as control groups and `ulimit -v` let it.

    Processes of one job on one machine (or on one of its GPUs) share what is free in equal parts.
    """
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        limit, seen = gpu_memory_limit(), len(tf.config.list_physical_devices("GPU"))
        share = math.ceil(local_processes() / seen) if seen > 1 else 1  # one alone may be that of this process
        ours = tf.config.experimental.get_memory_info("GPU:0")["current"]
        return Room(limit, ours + (limit - ours) // share, _OF_GPU_LIBRARIES, "the GPU", on_gpu=True)
    resident, addresses = resident_memory(), address_space_limit()
    try:
        tensors = tf.config.experimental.get_memory_info("CPU:0")["peak"]  # the allocator keeps what it once had
    except ValueError:  # not with TensorFlow's own allocator (see keep_freed_memory)
        tensors = 0
    limit = host_memory_limit()
    free, held = resident + host_memory_free() // local_processes(), max(0, resident - tensors)
    if addresses is None or addresses > limit:
        shared = limit == host_memory()
        return Room(limit, min(limit, free), held, "this machine" if shared else "its control group", shared=shared)
    of_allocator = int(os.environ.get("TF_CPU_BFC_MEM_LIMIT_IN_MB", addresses // 2**20)) * 2**20
    return Room(addresses, min(free, held + of_allocator), held, "ulimit -v", shared=False)


def choose(
    demand: Demand, asked: str | Memory, room: Room, why: str = "as asked for", *, refuse: bool = True
) -> Choice:
    """What `asked`, as `Glow` takes it, comes to for this step in this room; `why` is for a line without a budget.

    Raises:
      MemoryBudgetError: the step does not fit whatever is kept, the message says how much it needs and what to change;
        without `refuse` that is a warning only, where `asked` is no budget.
      ConfigError: asked is nothing that `Glow` takes.
    """
    demand = dataclasses.replace(demand, held=room.held, on_gpu=room.on_gpu)
    wanted = parse_memory(asked) if isinstance(asked, str) else asked
    least, most = demand.peak("reversible"), demand.peak("store")
    there = f"{size_text(room.free)} that this process can have of {room.name}"
    if isinstance(wanted, int) and wanted < least:
        raise MemoryBudgetError(f"memory is {asked}: {_needs(demand, least)}. {_advice(demand, wanted)}")
    if least > room.free and (refuse or isinstance(wanted, int) or wanted == AUTO):
        raise MemoryBudgetError(f"{_needs(demand, least)}, more than the {there}. {_advice(demand, room.free)}")
    warning = ""
    if isinstance(wanted, int) or wanted == AUTO:
        left, said = (FOR_OTHERS, "a tenth") if room.shared else (_UNFORESEEN, "a twentieth")
        budget = wanted if isinstance(wanted, int) else int(room.free * (1 - left))
        memory: Memory = demand.within(budget)
        reason = f" of {size_text(budget)}, where store takes {size_text(most)} and reversible {size_text(least)}"
        if wanted == AUTO:
            reason += f"; {said} of the {there} is left {'to others' if room.shared else 'free'}"
        elif budget > room.free:
            warning = f"memory is {asked}, more than the {there}"
    else:
        check_fits(wanted, demand.config.n_levels, demand.config.depth)
        memory, reason = wanted, f", {why}"
        if demand.peak(memory) > room.free:
            warning = f"memory {spelled(memory)} takes about {size_text(demand.peak(memory))}, more than the {there}"
    needs = demand.peak(memory)
    return Choice(memory, needs, f"memory: {in_words(memory)}; about {size_text(needs)}{reason}", warning)


def _needs(demand: Demand, least: int) -> str:
    weights = demand.weights
    return (
        f"a training step of {demand.batch} image(s) needs at least {size_text(least)}, of it {size_text(weights)} for"
        " weights, moments and average"
    )


def _advice(demand: Demand, most: int) -> str:
    """What would fit."""
    ways, batch = [], demand.batch
    while batch > 1 and demand.with_batch(batch).peak("reversible") > most:
        batch //= 2
    smaller = demand.with_batch(batch)
    if batch < demand.batch and smaller.peak("reversible") <= most:
        ways.append(f"a batch of {batch} image(s) needs {size_text(smaller.peak('reversible'))}")
    if demand.precision in ("float32", "tf32"):
        half = dataclasses.replace(demand, precision="bfloat16")
        if half.peak("reversible") <= most:
            ways.append(f"precision bfloat16 needs {size_text(half.peak('reversible'))}")
    return f"What helps: {'; '.join([*ways, 'smaller images, fewer levels, a lower depth or width'])}"
