"""Every experiment at scale tiny, through the command line, and what it refuses.

One epoch of one training is shared by all; `depth` trains twice more, and is stopped meanwhile.
"""

import csv
import json
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import glow_tf.training
from glow_tf import experiments
from glow_tf.config import GlowConfig
from glow_tf.experiments.command import main, make_parser
from glow_tf.experiments.study import Study
from glow_tf.training.config import TrainConfig
from tests.eagerly import eagerly
from tests.forked import Forked

ONE_MODEL = [name for name in experiments.NAMES if experiments.find(name).ONE_MODEL]


def run(name, out, *more):
    return main([name, "--out", str(out), *more])


def check_outputs(name, out):
    """results.json, curves.csv and a picture that is not blank; the results."""
    results = json.loads((out / "results.json").read_text())
    assert results["experiment"] == name and results["published"] == dict(experiments.find(name).PUBLISHED)
    with Image.open(out / f"{name}.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    return results


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of `temperature`, which trains the model that the others are given."""
    out = tmp_path_factory.mktemp("experiments") / "temperature"
    assert run("temperature", out, "--epochs", "1") == 0
    return out


@pytest.mark.slow
def test_temperature_widens_the_samples(trained):
    results = check_outputs("temperature", trained)
    spread = list(results["results"]["spread of a pixel (white is 1)"].values())
    assert spread[1:] == sorted(spread[1:]) and spread[1] > 0
    rows = list(csv.DictReader((trained / "curves.csv").open()))
    assert {(row["run"], row["split"], row["epoch"]) for row in rows} == {("model", s, "1") for s in ("train", "test")}


@pytest.mark.slow
@eagerly()
@pytest.mark.parametrize("name", [name for name in ONE_MODEL if name != "temperature"])
def test_experiments_with_a_given_model(name, trained, tmp_path):
    assert run(name, tmp_path, "--model", str(trained / "runs/model")) == 0
    found = check_outputs(name, tmp_path)["results"]
    if name == "likelihood":
        kinds = found["test"]
        assert kinds["raw weights"]["bits/dim"] != kinds["averaged weights"]["bits/dim"]
        assert all(0 < kind["standard error"] < 1 for kind in kinds.values())
    if name == "attributes":
        told = found["pairs of held-out images told apart by the direction"]
        assert set(told) == set("0123456789") and all(0.5 < share <= 1 for share in told.values())
    if name == "conditional":
        assert 0 <= found["classified wrong"] <= 1 and found["wrong by chance"] == pytest.approx(0.9)


@pytest.fixture
def trainings(trained, monkeypatch):
    """What would be trained, as (model, train) by name of the run; each gets the results of the one real training."""
    asked = {}

    def train(model, settings):
        GlowConfig.from_dict({**model, "channels": 1, "n_y": 10})
        TrainConfig.from_dict(settings)
        name = Path(settings["logdir"]).name
        asked[name] = (model, settings)
        shutil.copytree(trained / "runs/model", settings["logdir"])
        log = Path(settings["logdir"]) / "test.txt"
        log.write_text(log.read_text().replace('"bits_x": "', f'"bits_x": "{len(asked)}'))  # others for each
        return SimpleNamespace(exit_code=0)

    monkeypatch.setattr(glow_tf.training, "train", train, raising=False)
    return asked


@pytest.mark.slow
@eagerly()
def test_permutations_trains_every_kind(trainings, tmp_path, capsys):
    assert run("permutations", tmp_path, "--epochs", "7") == 0
    assert "training 6 of 6, affine-invconv-0, about" in capsys.readouterr().out
    kinds = {(model["flow_coupling"], model["flow_permutation"]) for model, _ in trainings.values()}
    assert len(trainings) == len(kinds) == 6
    assert {(train["epochs"], train["n_train"]) for _, train in trainings.values()} == {(7, 1500)}
    found = check_outputs("permutations", tmp_path)["results"]
    assert found["additive, published ordering"] == "not reproduced"  # the made-up numbers grow
    bits = [*found["additive, test bits/dim"].values(), *found["affine, test bits/dim"].values()]
    assert [int(value // 10) for value in bits] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@eagerly()
@pytest.mark.parametrize(("name", "n"), [("celeba32", 3), ("mnist", 1)])
def test_the_reports_experiments(name, n, trainings, tmp_path):
    assert run(name, tmp_path) == 0
    assert len(trainings) == n == len(check_outputs(name, tmp_path)["runs"])


@pytest.mark.parametrize("scale", ["small", "paper"])
@pytest.mark.parametrize("name", experiments.NAMES)
def test_settings_of_larger_scales_are_possible(name, scale, tmp_path):
    """Without the data: that the settings are ones that train would take."""
    arguments = [name, "--scale", scale, "--out", str(tmp_path), "--epochs", "2", "--precision", "bfloat16"]
    study = Study(make_parser().parse_args(arguments))
    study.data = SimpleNamespace(n_train=2000, n_test=100)
    for planned in experiments.find(name).runs(study).values():
        TrainConfig.from_dict(planned.train)
        config = GlowConfig.from_dict({"image_size": 256, **planned.model, "n_y": 10})
        assert planned.train["epochs"] == 2 and planned.train["resume"] and config.n_levels > 0


@pytest.mark.slow
def test_a_stopped_experiment_resumes(tmp_path, capsys):
    """Ctrl-C during the first training, SIGKILL during the second; the same command ends what both left."""
    arguments = ["depth", "--out", str(tmp_path), "--epochs", "2"]

    def stop(name, number):
        process = Forked("-m", "glow_tf.experiments", *arguments)
        log, deadline = tmp_path / "runs" / name / "train.txt", time.monotonic() + 900
        while not (log.is_file() and log.read_text().count("\n") > 1):  # its first epoch is over
            assert process.poll() is None and time.monotonic() < deadline, process.communicate(60)
            time.sleep(0.05)
        process.send_signal(number)
        return process.communicate(600)[0], process.returncode

    said, code = stop("shallow", signal.SIGINT)
    assert code == 130 and "stopped; the same command resumes" in said
    _, code = stop("deep", signal.SIGKILL)
    assert code == -signal.SIGKILL
    capsys.readouterr()
    assert main(arguments) == 0
    assert "training 1 of 1, deep" in capsys.readouterr().out
    results = check_outputs("depth", tmp_path)
    assert [one["epochs"] for one in results["runs"].values()] == [2, 2]
    epochs = [row["epoch"] for row in csv.DictReader((tmp_path / "curves.csv").open()) if row["split"] == "train"]
    assert epochs == ["1", "2"] * 2
    assert main([*arguments[:-1], "3"]) == 2
    assert "holds another experiment, or other settings" in capsys.readouterr().err


@pytest.mark.slow
def test_reconstruction_cost_keeps_what_it_has_measured(tmp_path, monkeypatch, capsys):
    module = experiments.find("reconstruction_cost")
    monkeypatch.setitem(module._DEPTHS, "tiny", (2, 8))
    row = {"mib": 700.0, "seconds": 0.5}
    done = [{"memory": memory, "depth": depth, **row} for depth in (2, 8) for memory in module.MEMORY][:-1]
    (tmp_path / "measured.json").write_text(json.dumps(done))
    assert run("reconstruction_cost", tmp_path) == 0
    assert capsys.readouterr().out.count("s left") == 1  # what is left: reversible, K=8
    found = check_outputs("reconstruction_cost", tmp_path)["results"]
    assert found["store"]["MiB for each step of flow"] == 0
    assert 100 < found["reversible"]["peak memory, MiB, K=8"] < 5000 and found["reversible"]["seconds a step, K=8"] > 0


def test_list_names_every_experiment(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(experiments.NAMES)


@pytest.fixture
def photographs(tmp_path):
    """A folder of 20 images, too few for anything."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(20):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, [32, 32, 3], dtype=np.uint8)).save(
            folder / f"{i}.png"
        )
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["permutations"], "--out is missing"),
        (["permutations", "--out", "o", "--data_dir", "nowhere"], "--data_dir nowhere: there is no such folder"),
        (["mnist", "--scale", "small", "--out", "o", "--data_dir", "{empty}"], "mnist"),
        (["celeba32", "--scale", "small", "--out", "o"], "needs --image_dir, a folder of images"),
        (["celeba32", "--scale", "small", "--out", "o", "--image_dir", "{photographs}"], "at least 1000 training"),
        (["attributes", "--out", "o", "--model", "nowhere"], "--model nowhere: there is no such folder"),
        (["depth", "--out", "o", "--model", "{empty}"], "depth compares several trainings"),
        (["likelihood", "--out", "o", "--preset", "lsun64"], "--preset is for `likelihood --scale paper`"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_one_line_before_any_training(
    arguments, message, tmp_path, photographs, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"empty": tmp_path / "empty", "photographs": photographs}
    assert main([argument.format(**places) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_paper_scale_wants_the_papers_processes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    module = experiments.find("permutations")
    monkeypatch.setitem(module.PROBLEMS, "paper", "digits")
    monkeypatch.setattr(module, "PAPER_SIZE", 8)
    assert main(["permutations", "--scale", "paper", "--out", "o"]) == 2
    assert "horovodrun -np 8 python -m glow_tf.experiments" in capsys.readouterr().err
