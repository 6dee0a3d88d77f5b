"""Every experiment at scale tiny, through the command line, with one epoch in place of many; and what it refuses."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from glow_tf import experiments
from glow_tf.experiments.command import main

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


@pytest.mark.slow
def test_permutations_and_celeba32(tmp_path, capsys):
    """The second finds its trainings done: those of the first with additive coupling."""
    assert run("permutations", tmp_path / "permutations", "--epochs", "1") == 0
    assert "training 6 of 6, affine-invconv-0, about" in capsys.readouterr().out
    found = check_outputs("permutations", tmp_path / "permutations")
    for name, one in found["runs"].items():
        coupling, permutation, _ = name.split("-")
        config = json.loads((tmp_path / "permutations/runs" / name / "config.json").read_text())["model"]
        assert (config["flow_coupling"], config["flow_permutation"]) == (coupling, permutation)
        assert found["results"][f"{coupling}, test bits/dim"][
            {"invconv": "1x1 convolution"}.get(permutation, permutation)
        ] == pytest.approx(one["test bits/dim"])
    for permutation in ("reverse", "shuffle", "invconv"):
        shutil.copytree(
            tmp_path / f"permutations/runs/additive-{permutation}-0", tmp_path / f"celeba32/runs/{permutation}"
        )
    assert run("celeba32", tmp_path / "celeba32", "--epochs", "1") == 0
    again = check_outputs("celeba32", tmp_path / "celeba32")["results"]
    assert again["test bits/dim"] == pytest.approx(found["results"]["additive, test bits/dim"])


@pytest.mark.slow
def test_mnist_on_digits(tmp_path):
    assert run("mnist", tmp_path, "--epochs", "1") == 0
    assert check_outputs("mnist", tmp_path)["results"]["test bits/dim"] < 4.5  # 4 bits, and a model that knows nothing


@pytest.mark.slow
def test_a_stopped_experiment_resumes(tmp_path, capsys):
    """Ctrl-C during the first training, SIGKILL during the second; the same command ends what both left."""
    arguments = ["depth", "--out", str(tmp_path), "--epochs", "3"]

    def stop(name, number):
        process = subprocess.Popen(
            [sys.executable, "-m", "glow_tf.experiments", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()},
        )  # fmt: skip
        log, deadline = tmp_path / "runs" / name / "train.txt", time.monotonic() + 120
        while not (log.is_file() and log.read_text().count("\n") > 1):  # its first epoch is over
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        return process.communicate(timeout=60), process.returncode

    (_, errors), code = stop("shallow", signal.SIGINT)
    assert code == 130 and "stopped; the same command resumes" in errors
    _, code = stop("deep", signal.SIGKILL)
    assert code == -signal.SIGKILL
    capsys.readouterr()
    assert main(arguments) == 0
    assert "training 1 of 1, deep" in capsys.readouterr().out
    results = check_outputs("depth", tmp_path)
    assert [one["epochs"] for one in results["runs"].values()] == [3, 3]
    epochs = [row["epoch"] for row in csv.DictReader((tmp_path / "curves.csv").open()) if row["split"] == "train"]
    assert epochs == ["1", "2", "3"] * 2
    assert main([*arguments[:-1], "4"]) == 2
    assert "holds another experiment, or other settings" in capsys.readouterr().err


@pytest.mark.slow
def test_reconstruction_cost_keeps_what_it_has_measured(tmp_path, monkeypatch, capsys):
    module = experiments.find("reconstruction_cost")
    monkeypatch.setitem(module._DEPTHS, "tiny", (2, 8))
    row = {"mib": 700.0, "seconds": 0.5}
    done = [{"memory": memory, "depth": depth, **row} for depth in (2, 8) for memory in module.MEMORIES][:-1]
    (tmp_path / "measured.json").write_text(json.dumps(done))
    assert run("reconstruction_cost", tmp_path) == 0
    assert capsys.readouterr().out.count("MiB, ") == 1  # what is left: reversible, K=8
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
