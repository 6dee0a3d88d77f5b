"""What tests/training/test_divergence_processes.py runs twice: a batch that is bad on one worker only.

Prints one JSON line per worker and policy: what it saw, and a fingerprint of its weights.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

import glow_tf
from glow_tf.training import Trainer, TrainError, diagnosis, train
from glow_tf.training import workers as distributed
from glow_tf.training.diagnosis import DivergedError
from tests.training.common import MODEL, TRAIN


def main() -> None:
    workers = distributed.connect()
    x = np.random.default_rng(workers.rank).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
    y = np.zeros(4, np.int32)
    for policy in ("stop", "skip"):
        glow = glow_tf.Glow({**MODEL, "channels": 1}, memory="store")
        trainer = Trainer(glow, {"n_train": 8, "n_batch_train": 4, "epochs_warmup": 0, "on_nan": policy})
        fine = np.zeros(x.shape, np.float32)  # given every time, so that the step is traced once
        trainer.step(x, y, noise=fine)
        before = glow.fingerprint()
        noise = np.full_like(fine, np.nan) if workers.rank == 1 else fine
        seen: dict[str, Any] = {"rank": workers.rank, "policy": policy}
        try:
            seen["step_ok"] = trainer.step(x, y, noise=noise)["step_ok"]
        except DivergedError as fault:
            batch = trainer.batch_of(fault.step)
            finding = batch and diagnosis.find_fault(glow, *batch)
            seen |= {"step": fault.step, "own": finding, "agreed": diagnosis.agree(workers, finding)}
        seen["untouched"] = glow.fingerprint() == before
        if policy == "skip":
            trainer.step(x, y, noise=fine)
        print(json.dumps({**seen, "weights": glow.fingerprint()}), flush=True)
    try:
        settings = {**TRAIN, "logdir": sys.argv[1], "n_batch_train": 8, "lr": 30.0, "epochs_warmup": 0}
        result = train(MODEL, {**settings, "on_nan": "rollback", "epochs": 1, "epochs_full_valid": 1})
        print(json.dumps({"rank": workers.rank, "policy": "rollback", "steps": result.steps}), flush=True)
    except TrainError as error:
        print(json.dumps({"rank": workers.rank, "policy": "rollback", "error": str(error)}), flush=True)


if __name__ == "__main__":
    main()
