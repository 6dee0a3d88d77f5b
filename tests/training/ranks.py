"""What every rank of a job does for test_equality.py: R times `python tests/training/ranks.py FOLDER RUN...`.

Also imported there, for the same steps in one process.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

import glow_tf
from glow_tf.training import TrainConfig, Trainer, setup
from glow_tf.training import workers as distributed
from tests.eagerly import eagerly
from tests.training.common import MODEL

BATCH = 8
# Steps and settings. Tracing a step takes as long as ten untraced ones, so only the longest run is traced.
RUNS: dict[str, tuple[int, dict[str, Any]]] = {
    "adamax": (20, {}),
    "short": (4, {}),
    "adam": (1, {"optimizer": "adam"}),
    "adam2": (1, {"optimizer": "adam2"}),
    "adam2 fp16": (1, {"optimizer": "adam2", "compression": "fp16"}),
    "context": (5, {"context": "downsampled:4"}),
}
TRACED = "adamax"


class Images:
    """Data that `setup.initialize` and the steps take from."""

    rng = np.random.default_rng(0)
    x = np.clip(rng.normal(128, 50, [20, BATCH, 8, 8, 1]), 0, 255).astype(np.uint8)
    noise = (rng.random(x.shape) / 256).astype(np.float32)
    y = np.zeros(BATCH, np.int32)

    def init_batch(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The images of the first step."""
        return self.x[0], self.y


_initial: dict[str, dict[str, np.ndarray]] = {}  # by context, weights after the initialisation


def start(workers: distributed.Workers, context: str = "none", **settings: Any) -> Trainer:
    """The trainer of this rank before its first step. Every rank has other weights until it gets rank 0's."""
    config = TrainConfig(
        n_train=5 * BATCH, n_batch_train=BATCH // workers.size, epochs_warmup=1, anchor_size=8, polyak_epochs=10,
        **settings,
    )  # fmt: skip
    glow = glow_tf.Glow(
        glow_tf.GlowConfig(**MODEL | {"n_levels": 2}, channels=1, context=context), seed=3 + workers.rank
    )
    variables = glow.named_variables()
    if context not in _initial:
        with eagerly():
            setup.initialize(glow, config, Images(), workers)
        _initial[context] = {name: np.array(variable) for name, variable in variables.items()}
    for name, value in _initial[context].items():
        variables[name].assign(value)
    return Trainer(glow, config, workers)


def take_steps(name: str, workers: distributed.Workers) -> dict[str, np.ndarray]:
    """This rank's share of the steps of one of RUNS; the losses, and everything there is at the end, by name."""
    steps, settings = RUNS[name]
    trainer, losses = start(workers, **settings), []
    batch = BATCH // workers.size
    mine = slice(workers.rank * batch, (workers.rank + 1) * batch)
    with contextlib.nullcontext() if name == TRACED else eagerly():
        for x, noise in zip(Images.x[:steps], Images.noise[:steps], strict=True):
            losses.append(trainer.step(x[mine], Images.y[mine], noise=noise[mine])["loss"])
    assert trainer.state.n_processed == trainer.state.n_images == steps * BATCH
    groups = {
        "weights": trainer.glow.named_variables(),
        "slots": trainer.optimizer.slots,
        "average": trainer.average,
    }
    arrays = {f"{group}/{key}": np.array(v) for group, values in groups.items() for key, v in values.items()}
    return {"losses": np.array(losses), **arrays}


def main(folder: Path, names: list[str]) -> None:
    """Writes `<run>-<rank>.npz` for each of these runs."""
    workers = distributed.connect()
    for name in names:
        np.savez(folder / f"{name}-{workers.rank}.npz", **take_steps(name, workers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
