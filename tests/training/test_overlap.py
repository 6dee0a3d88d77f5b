"""When reductions happen: level by level during the backward pass, and how often Horovod's thread looks for them."""

from __future__ import annotations

import json
import os

import pytest
import tensorflow as tf

from glow_tf.training.workers import HorovodWorkers
from tests.benchmarks.timeline import read_steps
from tests.training.jobs import needs_horovod, run_forked

pytestmark = needs_horovod


@pytest.mark.slow
def test_a_level_is_reduced_during_the_backward_pass_of_the_next(tmp_path):
    model = {"image_size": 16, "n_levels": 3, "depth": 4, "width": 64}
    task, timeline = {"model": model, "batch": 16, "steps": 24, "timed": True}, tmp_path / "timeline.json"
    variables = {"HOROVOD_TIMELINE": str(timeline), "HOROVOD_CYCLE_TIME": "1"}  # milliseconds
    # A step takes 0.1 s, and a busy machine delays many a message, so one step of three runs is enough. Without any
    # overlap there would be none at all: level 0's gradients would be ready before level 2's are reduced.
    for _ in range(3):
        run_forked(2, "tests/benchmarks/measure_horovod.py", json.dumps(task), environment=variables)
        in_turn = []
        for step in read_steps(timeline):
            level_2, _, level_0 = ([r for r in step if f"gradient/level_{i}/" in r.tensor] for i in (2, 1, 0))
            assert len(level_2) == len(level_0) == 12
            in_turn.append(max(r.end for r in level_2) < min(r.ready for r in level_0))
        assert len(in_turn) == 23
        if any(in_turn[1:]):
            return
    pytest.fail(f"level 2 was never reduced before level 0's gradients were there: {in_turn}")


@pytest.mark.parametrize(("given", "used"), [(None, "10"), ("3", "3")])
def test_without_a_gpu_horovods_thread_looks_less_often(given, used, monkeypatch):
    hvd = pytest.importorskip("horovod.tensorflow")
    seen = []
    monkeypatch.setattr(hvd, "init", lambda: seen.append(os.environ["HOROVOD_CYCLE_TIME"]))  # which reads it
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setenv("HOROVOD_CYCLE_TIME", given or "")
    if given is None:
        monkeypatch.delenv("HOROVOD_CYCLE_TIME")
    HorovodWorkers()
    assert seen == [used]
