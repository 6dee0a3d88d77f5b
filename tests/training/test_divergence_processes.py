"""Two workers of which one has a bad batch: both decide the same, at the same step."""

from __future__ import annotations

import json

import pytest

from glow_tf.storage.checkpoints import list_checkpoints
from tests.training.jobs import needs_horovod, run_forked

pytestmark = [pytest.mark.slow, needs_horovod]


def test_both_workers_decide_the_same(tmp_path):
    said = run_forked(2, "-m", "tests.training.divergence_worker", str(tmp_path), seconds=400)
    lines = [json.loads(line[line.index("{") :]) for line in said.splitlines() if '"policy"' in line]
    seen = {(line["policy"], line["rank"]): line for line in lines}
    assert len(seen) == 6
    for policy in ("stop", "skip"):
        first, second = seen[policy, 0], seen[policy, 1]
        assert first["untouched"] and second["untouched"]
        assert first["weights"] == second["weights"]
    finding = "level_0, step 0, actnorm: its output is not finite"
    assert seen["stop", 0] == {**seen["stop", 1], "rank": 0, "own": None}
    assert (seen["stop", 1]["own"], seen["stop", 0]["agreed"], seen["stop", 0]["step"]) == (finding, finding, 1)
    assert seen["skip", 0]["step_ok"] == seen["skip", 1]["step_ok"] == 0
    assert [seen["rollback", rank].get("steps") for rank in (0, 1)] == [4, 4]
    state = json.loads((list_checkpoints(tmp_path / "checkpoints")[-1] / "state.json").read_text())
    assert state["rollbacks"] > 0 and state["step"] == 4
