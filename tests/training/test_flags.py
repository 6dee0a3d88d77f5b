"""The flags: OpenAI's names and defaults, and one clear line for wrong use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest

import data_loaders
import glow_tf.training
from glow_tf.commands import main
from glow_tf.commands import train as command
from glow_tf.config import GlowConfig
from glow_tf.training.config import TrainConfig
from glow_tf.training.presets import PRESETS
from tests.training.common import REPOSITORY

# Every flag of OpenAI's train.py with its default.
ORIGINAL_TRAIN = {
    "verbose": False, "restore_path": "", "logdir": "./logs", "problem": "cifar10", "category": "",
    "data_dir": "", "dal": 1, "fmap": 1, "pmap": 16, "n_train": 50000, "n_test": -1,
    "n_batch_train": 64, "n_batch_test": 50, "n_batch_init": 256, "optimizer": "adamax", "lr": 0.001,
    "beta1": 0.9, "polyak_epochs": 1, "weight_decay": 1.0, "epochs": 1000000, "epochs_warmup": 10,
    "epochs_full_valid": 50, "gradient_checkpointing": 1, "anchor_size": 32, "n_sample": 1,
    "epochs_full_sample": 50, "seed": 0,
}  # fmt: skip
ORIGINAL_MODEL = {
    "width": 512, "depth": 32, "weight_y": 0.0, "n_bits_x": 8, "n_levels": 3, "learntop": False,
    "ycond": False, "flow_permutation": "invconv", "flow_coupling": "additive",
}  # fmt: skip


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_defaults_are_the_originals():
    model, config = command.parse([])
    assert {name: getattr(config, name) for name in ORIGINAL_TRAIN} == ORIGINAL_TRAIN
    assert model["image_size"] == 32
    glow = GlowConfig.from_dict(model)
    assert {name: getattr(glow, name) for name in ORIGINAL_MODEL} == ORIGINAL_MODEL


def test_the_original_readmes_lines_parse():
    line = "--problem cifar10 --image_size 32 --n_level 3 --depth 32 --flow_permutation 2 --flow_coupling 1"
    line += " --seed 0 --learntop --lr 0.001 --n_bits_x 5 --ycond --weight_y=0.01"
    model, config = command.parse(line.split())
    glow = GlowConfig.from_dict({**model, "n_y": 10})
    assert (glow.n_levels, glow.flow_coupling, glow.weight_y, glow.n_bits_x) == (3, "affine", 0.01, 5)
    assert config.lr == 0.001


def test_every_setting_has_its_flag():
    actions = {action.dest for action in command.make_parser()._actions}
    settings = set(TrainConfig().to_dict()) | {f for f in GlowConfig(image_size=8).to_dict()}
    assert settings - actions == {"train_its", "n_y", "channels"}


FACES = "--preset celebahq256 --problem folder --image_dir ."


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_possible_model(name):
    data = [] if "problem" in PRESETS[name].train else ["--problem", "folder", "--image_dir", "."]
    model, config = command.parse(["--preset", name, *data])
    glow = GlowConfig.from_dict(model)
    assert {field: getattr(glow, field) for field in PRESETS[name].model} == dict(PRESETS[name].model)
    assert config.lr == 0.001


def test_flags_override_a_preset():
    model, config = command.parse(f"{FACES} --depth 4 --flow_coupling 1 --lr 0.01".split())
    glow = GlowConfig.from_dict(model)
    assert (glow.depth, glow.flow_coupling, glow.n_levels, glow.n_bits_x, config.lr) == (4, "affine", 6, 5, 0.01)


def test_the_256_preset_checkpoints_as_the_original_unless_told_otherwise():
    for more, memory in (
        ("", "checkpoint"),
        ("--memory reversible", "reversible"),
        ("--gradient_checkpointing 0", "store"),
    ):
        assert command.parse(f"{FACES} {more}".split())[1].resolve_memory() == memory
    assert command.parse(["--preset", "cifar10"])[1].resolve_memory() == "reversible"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--preset celeba", "preset 'celeba' is unknown; there are cifar10,"),
        ("--preset imagenet32", "--preset imagenet32 sets the model and its training, not the data: give --problem"),
        ("--problem nope", "Unknown problem 'nope'; there are: digits"),
        ("--problem cifar", "Did you mean 'cifar10'?"),
        ("--image_size 30", "divisible by 2\\*\\*n_levels = 8"),
        ("--n_levels 6", "n_levels of at most 5"),
        ("--gradient_checkpointing 1 --memory store", "contradicts --memory store"),
        ("--gradient_checkpointing 0 --memory reversible", "contradicts --memory reversible"),
        ("--weight_y 0.1", "ycond"),
        ("--image_dir . --problem mnist", "--image_dir needs --problem folder"),
        ("--problem folder", "needs --image_dir"),
        ("--problem folder --image_dir . --data_dir .", "give one of them"),
        ("--data_dir nowhere", "no such folder"),
        ("--resume --dry_run", "give one of them"),
        ("--inference", "--inference needs --restore_path"),
        ("--n_train 0", "n_train is 0"),
        ("--optimizer sgd", "invalid choice"),
        ("--depth many", "invalid int"),
        ("--lr -1", "lr is -1"),
        ("--polyak_epochs 0", "polyak_epochs"),
        ("--beta1 1", "beta1"),
        ("--weight_decay 0", "weight_decay"),
        ("--n_test 0", "n_test"),
        ("--memory 6GB/s", "memory is '6GB/s'; allowed are auto, a size such as 6GiB or 500MB, store,"),
        ("--memory 6GX", "memory is '6GX': its unit must be one of B, kB, MB, GB,"),
        ("--dept 3 --unheard_of", "unheard_of"),
    ],
)
def test_wrong_use_is_one_line(line, says, capsys):
    with pytest.raises(SystemExit) as end:
        command.parse(line.split())
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("train.py: error: ") and said.count("\n") == 1
    with pytest.raises(ValueError, match=says):
        raise ValueError(said)


def test_gradient_checkpointing_is_the_originals_spelling():
    assert command.parse([])[1].resolve_memory() == "auto"
    assert command.parse(["--gradient_checkpointing", "0"])[1].resolve_memory() == "store"
    assert command.parse(["--gradient_checkpointing", "1"])[1].resolve_memory() == "checkpoint"
    assert command.parse(["--memory", "checkpoint"])[1].resolve_memory() == "checkpoint"


def test_hyphens_are_as_good_as_underscores():
    model, config = command.parse("--n-levels 2 --flow-coupling=1 --data-dir . --epochs-warmup 3".split())
    assert (model["n_levels"], model["flow_coupling"], config.data_dir, config.epochs_warmup) == (2, "affine", ".", 3)


def test_an_epoch_of_ones_own_data_is_all_of_it():
    assert command.parse("--problem folder --image_dir .".split())[1].n_train == -1
    assert command.parse("--problem tfds:mnist:3.0.1".split())[1].n_train == -1
    assert command.parse("--problem mnist".split())[1].n_train == -1
    assert command.parse("--problem mnist --n_train 7".split())[1].n_train == 7
    assert command.parse("--problem cifar10".split())[1].n_train == 50000


def printed(line, capsys):
    with pytest.raises(SystemExit) as end:
        command.parse(line.split())
    assert end.value.code == 0
    return json.loads(capsys.readouterr().out)


def test_a_printed_configuration_is_one_to_give(tmp_path, capsys):
    config = printed("--print_config --preset celebahq256 --problem folder --image_dir . --lr 0.5 --logdir a", capsys)
    assert (config["model"]["n_levels"], config["train"]["lr"], config["train"]["logdir"]) == (6, 0.5, "a")
    (tmp_path / "c.json").write_text(json.dumps(config))
    again = printed("--config c.json --print_config --lr 0.25 --depth 3", capsys)
    config["model"]["depth"], config["train"]["lr"], config["train"]["logdir"] = 3, 0.25, "./logs"
    assert again == config


def test_warnings_are_lines(monkeypatch, capsys):
    def warn(model, config):
        warnings.warn("1 of 2 images cannot be used", stacklevel=1)
        return SimpleNamespace(exit_code=0)

    monkeypatch.setattr(glow_tf.training, "train", warn, raising=False)
    assert command.main(["--problem", "digits"]) == 0
    assert capsys.readouterr().err == "train.py: warning: 1 of 2 images cannot be used\n"


def test_a_reader_that_has_gone_is_no_error():
    """As `train.py --print_config | head -1`."""
    read, write = os.pipe()
    os.close(read)
    command_line = [sys.executable, "train.py", "--print_config"]
    result = subprocess.run(command_line, cwd=REPOSITORY, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.fixture
def old_run(tmp_path):
    """The configuration of a run, as a run writes it."""
    model, config = command.parse("--problem digits --depth 2 --flow_coupling 1 --lr 0.5 --steps 9".split())
    (tmp_path / "run").mkdir()
    settings = {"model": {**model, "n_y": 10, "channels": 1}, "train": config.to_dict(), "memory": "reversible"}
    (tmp_path / "run/config.json").write_text(json.dumps(settings))
    return settings


def test_resuming_needs_no_other_flag(old_run):
    model, config = command.parse("--resume --logdir run".split())
    assert model == old_run["model"]
    assert config.to_dict() == {**old_run["train"], "resume": True, "logdir": "run"}
    assert command.parse("--resume --logdir run --memory 6GiB".split())[1].memory == "6GiB"
    assert command.parse("--resume --logdir run --steps 20 --depth 2 --lr 0.5".split())[1].steps == 20


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--lr 0.1 --depth 3", "cannot be resumed: depth is 2 there, 3 here; lr is 0.5 there, 0.1 here"),
        ("--problem mnist", "problem is 'digits' there, 'mnist' here"),
        ("--preset cifar10", "depth is 2 there, 32 here"),
        ("--config run/config.json", "--config starts a new run and --resume resumes one; give one of them"),
    ],
)
def test_contradicting_flags_of_a_resumed_run_are_named(line, says, old_run, capsys):
    with pytest.raises(SystemExit):
        command.parse(["--resume", "--logdir", "run", *line.split()])
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "c.json: there is no such file"),
        ("[", "c.json is not the configuration of a run"),
        ('{"model": {}}', "c.json is not the configuration of a run"),
        ('{"model": {"depht": 1}, "train": {}}', "unknown training settings: depht"),
        ('{"model": {"depth": "x"}, "train": {}}', "depth='x'"),
        ('{"model": {}, "train": {"lr": "x"}}', "lr is 'x'"),
    ],
)
def test_wrong_files_are_one_line(content, says, tmp_path, capsys):
    if content is not None:
        (tmp_path / "c.json").write_text(content)
    with pytest.raises(SystemExit) as end:
        command.parse(["--config", "c.json"])
    said = capsys.readouterr().err
    assert end.value.code == 2 and says in said and said.count("\n") == 1


def test_help_names_data_sets_and_groups(capsys):
    with pytest.raises(SystemExit):
        command.parse(["--help"])
    said = capsys.readouterr().out
    for problem in data_loaders.problems():
        assert re.search(rf"\n  {re.escape(problem)}( |\n)", said), problem
    for group in (
        "data",
        "model",
        "optimisation",
        "evaluation",
        "distributed training",
        "compatibility with OpenAI's code",
    ):
        assert f"\n{group}:\n" in said


@pytest.mark.parametrize("words", [["--version"], ["train", "--version"]])
def test_the_version(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    assert re.match(r"glow_tf (\d+\.\d+|\(not installed\)).*, tensorflow 2\..*, Python 3\.", capsys.readouterr().out)


def test_train_is_a_command_too(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--lr", "x"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("python -m glow_tf train: error: argument --lr")


def test_errors_come_before_tensorflow():
    code = "import sys, train; code = None\ntry: train.main(['--lr', 'x'])\nexcept SystemExit as e: code = e.code\n"
    code += "assert code == 2 and 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
