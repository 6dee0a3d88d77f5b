"""The command lines of OpenAI's README; `python -m tests.reliability.original_readme` runs all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from glow_tf.commands.train import parse
from glow_tf.config import GlowConfig
from tests.forked import Forked
from tests.original_data import environment, make_all
from tests.original_lines import lines
from tests.reliability.original_readme import REDUCED, command
from tests.training.jobs import needs_horovod


@pytest.mark.parametrize("name", lines())
def test_every_line_parses_as_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = lines()[name].split()
    model, config = parse(words)
    glow = GlowConfig.from_dict({**model, "n_y": 1000})
    given = {flag: value for flag, value in itertools.pairwise(words) if flag.startswith("--")}
    assert glow.depth == int(given.get("--depth", 32)) and glow.n_levels == int(given.get("--n_level", 3))
    assert glow.flow_coupling == ("additive", "affine")[int(given.get("--flow_coupling", 0))]
    assert glow.flow_permutation == ("reverse", "shuffle", "invconv")[int(given.get("--flow_permutation", 2))]
    assert (glow.height, glow.image_width) == (int(given.get("--image_size", 32)),) * 2
    assert (glow.learntop, glow.ycond) == ("--learntop" in words, "--ycond" in words)
    assert (config.problem, config.category) == (given.get("--problem", "cifar10"), given.get("--category", ""))
    assert config.seed == int(given.get("--seed", 0)) and config.data_dir == ""
    assert glow.weight_y == (0.01 if "--weight_y=0.01" in words else 0)


@pytest.fixture
def data(tmp_path):
    """OpenAI's data sets, of eight pictures."""
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((256, 256)) for _ in range(8)]
    make_all(root, pictures, categories=("tower",))
    return root


@pytest.mark.slow
@needs_horovod
def test_a_line_runs_under_horovodrun(data, tmp_path):
    """The one whose images are no power of two, which OpenAI's code cannot run."""
    name = "lsun-tower-96"
    line = command(name, lines()[name], f"{REDUCED} --n_test 2 --dry_run", tmp_path / "logs")
    process = Forked(*line, environment=environment(data))  # which asks Horovod's library what it can do
    said, _ = process.communicate(240)
    assert process.returncode == 0, said
    assert "2 worker(s)" in said and "test bits/dim" in said
    assert (tmp_path / "logs/model/weights.npz").exists()
