"""R ranks with a batch of N / R each take the steps that one process with a batch of N takes."""

from __future__ import annotations

import numpy as np
import pytest

from glow_tf.training.workers import Workers
from tests.eagerly import eagerly
from tests.tolerances import RANKS
from tests.training import ranks
from tests.training.jobs import needs_horovod, run_forked

pytestmark = [pytest.mark.slow, needs_horovod]


def assert_near(one, other, kind, sizes=None):
    """Every array within the tolerance, relative to its largest magnitude or to that of `sizes`."""
    assert set(one) == set(other)
    for name, value in one.items():
        value, scale = np.asarray(value, np.float64), np.abs((sizes or one)[name]).max(initial=0)
        assert np.abs(value - other[name]).max(initial=0) <= RANKS[kind][0] * scale, (name, scale)


def run_ranks(size, folder, *names):
    """The arrays that rank 0 ended with, by run; all ranks ended with the same bits."""
    run_forked(size, "tests/training/ranks.py", str(folder), *names)
    results = {}
    for name in names:
        first, *others = (dict(np.load(folder / f"{name}-{rank}.npz")) for rank in range(size))
        for other in others:
            assert all((first[key] == value).all() for key, value in other.items()), name
        results[name] = first
    return results


def test_two_ranks_are_one_process_with_both_batches(tmp_path):
    one_process = ranks.take_steps("adamax", Workers())
    two = run_ranks(2, tmp_path, *(name for name in ranks.RUNS if name != "short"))
    assert len(one_process["losses"]) == 20
    assert_near(one_process, two["adamax"], "float32")
    assert_near(ranks.take_steps("context", Workers()), two["context"], "float32")
    # One process sees each rank's gradient as the change of a first moment.
    trainer = ranks.start(Workers(), optimizer="adam")
    first_moments = {name: trainer.optimizer.slots[f"{name}/m1"] for name in trainer.variables}
    gradients = []
    for mine in (slice(0, 4), slice(4, 8)):
        before = {name: np.array(slot, np.float64) for name, slot in first_moments.items()}
        with eagerly():
            trainer.step(ranks.Images.x[0][mine], ranks.Images.y[mine], lr=0.0, noise=ranks.Images.noise[0][mine])
        gradients.append({name: (np.array(slot) - 0.9 * before[name]) / 0.1 for name, slot in first_moments.items()})
    mean = {name: (gradients[0][name] + gradients[1][name]) / 2 for name in before}
    mean_square = {name: (gradients[0][name] ** 2 + gradients[1][name] ** 2) / 2 for name in before}
    largest = {name: np.abs([gradients[0][name], gradients[1][name]]) for name in before}  # they may cancel in the mean
    squares = {name: value**2 for name, value in largest.items()}
    for run, kind, square in (
        ("adam", "first step", {name: g**2 for name, g in mean.items()}),
        ("adam2", "first step", mean_square),
        ("adam2 fp16", "fp16", mean_square),
    ):
        slots = {key.removeprefix("slots/"): value for key, value in two[run].items()}
        assert_near(mean, {name: slots[f"{name}/m1"] / 0.1 for name in mean}, kind, largest)
        second = {name: slots[f"{name}/m2"] / (1 - trainer.optimizer.beta2) for name in mean}
        assert_near(square, second, "first step", squares)  # mean squares never go as fp16, where they would vanish


def test_four_ranks_are_one_process_with_all_batches(tmp_path):
    assert_near(ranks.take_steps("short", Workers()), run_ranks(4, tmp_path, "short")["short"], "float32")
