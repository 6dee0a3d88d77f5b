"""What is kept within a budget: how it is spelled, the arithmetic of bytes, and the choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.config import ConfigError, GlowConfig
from glow_tf.flow import room as rooms
from glow_tf.flow.budget import Demand
from glow_tf.flow.memory import EVERYTHING, Segment, as_memory, in_words, parse_memory, spelled
from glow_tf.flow.room import MemoryBudgetError, Room, choose, device_room
from tests.near import assert_near
from tests.random_weights import context_for, random_glow
from tests.tolerances import LEVEL

CIFAR10 = GlowConfig(image_size=32, flow_coupling="affine", learntop=True)
FACES = GlowConfig(image_size=256, n_levels=6, flow_coupling="affine", learntop=True)
GIB = 2**30


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("6GiB", 6 * GIB), ("500MB", 500_000_000), ("1.5 GiB", 3 * GIB // 2), ("7tb", 7 * 1000**4), ("9B", 9),
    ],
)  # fmt: skip
def test_sizes(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("6GiBs", "its unit must be one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"),
        ("6", "its unit must be one of"),
        ("6 gib bytes", "allowed are auto, a size such as 6GiB or 500MB, store, checkpoint, reversible"),
        ("all", "allowed are auto"),
        ("-1GiB", "allowed are auto"),
        ("h:x", "'h:x' is no FIELDS:STEPS; fields are start, h, windows, hidden_1, hidden_2"),
        ("hidden_3:4", "fields are"),
    ],
)
def test_what_is_no_memory_is_one_line(text, says):
    with pytest.raises(ConfigError, match="memory is") as error:
        parse_memory(text)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_bytes_are_a_number_too_and_other_kinds_are_refused():
    config = {"image_size": 8, "n_levels": 1, "depth": 1, "width": 4}
    glow = glow_tf.Glow(config, memory=2**40)
    assert glow.memory == f"{2**40}B" and glow.memory_for(0) == "reversible"
    for memory in (None, 2.5, True):
        with pytest.raises(ConfigError, match="memory is"):
            glow_tf.Glow(config, memory=memory)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["store", "reversible", "none:20,h+hidden_2:12/all:32", "h:1/start:1"])
def test_what_is_spelled_is_read(text):
    assert spelled(as_memory(text)) == text and as_memory(text) == parse_memory(text)


def test_all_segments_alike_have_the_name():
    for name, keep in (("store", EVERYTHING), ("checkpoint", ("start",)), ("reversible", ())):
        assert (
            spelled([[Segment(2, keep)], [Segment(1, keep), Segment(1, keep)]])
            == name
            == in_words([[Segment(4, keep)]])
        )
    assert in_words(as_memory("none:3,h:2/all:5")) == "7 of 10 steps keep activations (none:3,h:2/all:5)"


@pytest.mark.parametrize("n_levels", [1, 2])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"flow_permutation": "shuffle", "flow_coupling": "affine", "channels": 1},
        {"flow_permutation": "reverse", "learntop": True, "ycond": True, "n_y": 3, "weight_y": 0.1},
        {"lu_decomposed": True, "image_size": (8, 4)},
        {"context": "label", "n_y": 3, "learntop": True},
        {"context_channels": 2, "width": 40},
    ],
)
def test_weights_are_counted_as_they_are(fields, n_levels):
    config = GlowConfig(**{"image_size": 8, "depth": 2, "width": 4, "n_levels": n_levels, **fields})
    glow = glow_tf.Glow(config)
    every, trained = (
        sum(np.prod(v.shape) for v in some) for some in (glow.named_variables().values(), glow.trainable_variables)
    )
    assert Demand(config, 1).weights == 4 * (every - 1 + 3 * trained)  # the one is `initialized`


def test_bytes_of_a_step_are_those_that_a_scan_keeps():
    """Of the CIFAR-10 model's first level at batch 16: 4096 pixels of 12 channels, networks of 512."""
    demand = Demand(CIFAR10, 16)
    columns = {"start": 12, "h": 12, "windows": 9 * 6 + 9, "hidden_1": 512, "hidden_2": 512}
    assert {name: demand.bytes_of(0, name) for name in EVERYTHING} == {n: 4 * 4096 * c for n, c in columns.items()}
    half = Demand(CIFAR10, 16, "bfloat16")
    assert half.bytes_of(0, "hidden_2") == 2 * 4096 * 512 and half.bytes_of(0, "h") == 4 * 4096 * 12
    store = sum(32 * demand.bytes_of(level, name) for level in range(3) for name in EVERYTHING)
    assert demand.peak("store") - demand.peak("reversible") < 1.05 * store  # not all is there at the peak of either


@pytest.mark.parametrize("config", [CIFAR10, FACES])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_more_memory_saves_more_work(config, precision):
    demand = Demand(config, 4, precision, held=GIB // 2)
    least, most = demand.peak("reversible"), demand.peak("store")
    budgets = np.linspace(least, most, 30).astype(int).tolist()
    plans = [demand.within(budget) for budget in budgets]
    for budget, plan in zip(budgets, plans, strict=True):
        assert demand.peak(plan) <= budget
        assert all(sum(segment.depth for segment in level) == config.depth for level in plan)
        assert all(len(level) <= 2 for level in plan)
        assert all(set(a.keep) < set(b.keep) for level in plan for a, b in itertools.pairwise(level))
    saved = [demand.saved(plan) for plan in plans]
    assert saved == sorted(saved) and saved[15] > 0.6 * demand.saved("store")
    assert spelled(plans[-1]) == "store" and spelled(demand.within(0)) == "reversible"


def test_precision_and_waiting_gradients_count():
    demand = Demand(FACES, 1)
    assert Demand(FACES, 1, "bfloat16").peak("store") < demand.peak("store") < Demand(FACES, 1, "float64").peak("store")
    assert demand.peak("reversible") < Demand(FACES, 1, waits=True).peak("reversible")
    assert demand.with_batch(2).peak("store") > demand.peak("store")
    assert Demand(FACES, 1, test_batch=64).peak("reversible") > demand.peak("reversible")


def room(free, has=64 * GIB):
    return Room(int(has), int(free), GIB // 2, "this machine")


def test_auto_takes_the_fastest_that_fits():
    demand = Demand(CIFAR10, 16)
    assert spelled(choose(demand, "auto", room(20 * GIB)).memory) == "store"
    some = choose(demand, "auto", room(2.1 * GIB))
    assert some.needs <= 0.9 * 2.1 * GIB and "keep activations" in some.line and "\n" not in some.line
    assert "this machine is left to others" in some.line
    tight = Demand(CIFAR10, 16, held=GIB // 2).peak("reversible")
    assert spelled(choose(demand, "auto", room(1.01 * tight)).memory) == "reversible"
    for name in ("store", "checkpoint", "reversible", "none:32/h:32/all:32"):
        choice = choose(demand, name, room(20 * GIB))
        assert spelled(choice.memory) == name and "as asked for" in choice.line and not choice.warning


def test_less_is_left_alone_of_a_limit_that_is_set_for_this_job(monkeypatch):
    monkeypatch.setattr(rooms, "address_space_limit", lambda: None)
    found = []
    for limit in (64 * GIB, 8 * GIB):
        monkeypatch.setattr(rooms, "host_memory", lambda: 64 * GIB)
        monkeypatch.setattr(rooms, "host_memory_limit", lambda limit=limit: limit)
        monkeypatch.setattr(rooms, "host_memory_free", lambda: 7 * GIB)
        found.append(device_room())
    assert [(there.shared, there.name) for there in found] == [(True, "this machine"), (False, "its control group")]
    demand = Demand(FACES, 1)
    machine, group = (choose(demand, "auto", there._replace(free=8 * GIB, held=GIB // 2)) for there in found)
    assert machine.needs <= 0.9 * 8 * GIB < group.needs <= 0.95 * 8 * GIB
    assert "a twentieth of the 8.00 GiB that this process can have of its control group is left free" in group.line


def test_what_does_not_fit_is_refused():
    demand = Demand(FACES, 16)
    with pytest.raises(
        MemoryBudgetError, match=r"16 image\(s\) needs at least .* GiB, of it 3.44 GiB for weights"
    ) as error:
        choose(demand, "auto", room(6.6 * GIB))
    assert "more than the 6.60 GiB that this process can have of this machine" in str(error.value)
    assert "a batch of 8 image(s) needs" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(MemoryBudgetError, match="memory is 1GiB: a training step"):
        choose(demand, "1GiB", room(20 * GIB))
    with pytest.raises(MemoryBudgetError, match="precision bfloat16 needs"):
        choose(Demand(CIFAR10, 256), "reversible", room(2.2 * GIB))
    with pytest.raises(ConfigError, match=r"memory has levels of \[1, 2\] steps, the model 3 of 32"):
        choose(Demand(CIFAR10, 1), "h:1/h:2", room(20 * GIB))


def test_more_than_there_is_warns():
    choice = choose(Demand(CIFAR10, 16), "30GiB", room(20 * GIB))
    assert spelled(choice.memory) == "store"
    assert choice.warning == "memory is 30GiB, more than the 20.00 GiB that this process can have of this machine"
    assert "takes about" in choose(Demand(CIFAR10, 16), "store", room(2 * GIB)).warning


def test_a_model_chooses_for_its_batch(monkeypatch):
    monkeypatch.setattr("glow_tf.model.device_room", lambda: room(20 * GIB))
    glow = glow_tf.Glow({"image_size": 4, "n_levels": 1, "depth": 2, "width": 4}, memory="auto")
    assert spelled(glow.memory_for(2)) == "store" and glow.memory_for(None) == "reversible"
    glow.memory = "1GiB"
    assert spelled(glow.memory_for(2)) == "store"
    glow.memory = "30GiB"
    with pytest.warns(UserWarning, match="memory is 30GiB, more than"):
        glow.memory_for(2)
    for wrong in ("1GiBB", "none:2/none:2", "h:3"):
        with pytest.raises(ConfigError, match="memory"):
            glow_tf.Glow({"image_size": 4, "n_levels": 1, "depth": 2, "width": 4}, memory=wrong)


@pytest.mark.parametrize(
    "fields",
    [
        {"ycond": True, "n_y": 3, "weight_y": 0.1, "flow_permutation": "shuffle", "flow_coupling": "additive"},
        {"context": "label", "n_y": 3},
        {"context_channels": 2, "lu_decomposed": True},
    ],
)
def test_models_with_labels_or_context_have_the_gradients_of_store(fields):
    glow = random_glow(precision="float64", depth=4, **fields)
    random = np.random.default_rng(3)
    x = random.integers(0, 256, (3, *glow.config.image_shape)).astype(np.uint8)
    context = context_for(glow, x)
    given = {
        "y": np.array([2, 0, 1], np.int32) if glow.config.takes_labels else None,
        "noise": glow.draw_noise(x.shape, [0, 1]),
        "context": None if context is None else tf.constant(context, tf.float64),
    }
    sources = [*glow.trainable_variables, *([] if context is None else [given["context"]])]

    def gradients(memory):
        with tf.GradientTape() as tape:
            tape.watch(sources)
            loss = tf.reduce_mean(glow.losses(tf.constant(x), memory=memory, **given)["loss"])
        return tape.gradient(loss, sources)

    wanted = gradients("store")
    for mixed in ("none:1,h:3/h+hidden_2:2,all:2", "h+hidden_1:4/none:3,h+windows+hidden_1+hidden_2:1"):
        for ours, value in zip(gradients(as_memory(mixed)), wanted, strict=True):
            ours, value = tf.convert_to_tensor(ours), tf.convert_to_tensor(value)  # an embedding has IndexedSlices
            assert_near(mixed, ours, value, LEVEL["gradient float64"], floor=0)
