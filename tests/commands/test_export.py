"""export, and the other commands on what it wrote."""

from __future__ import annotations

import json
import shutil
import socket
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.commands import main
from glow_tf.commands.folders import find_model
from glow_tf.commands.models import open_model
from tests.commands.conftest import make_run, picture
from tests.random_weights import random_images

DIGITS: dict[str, Any] = {
    "image_size": 8,
    "channels": 1,
    "ycond": True,
    "n_y": 10,
    "weight_y": 0.1,
    "n_levels": 1,
    "depth": 1,
}
DATA = ("--problem", "digits")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """run/, and export/ with the version 1."""
    folder = tmp_path_factory.mktemp("exported")
    make_run(folder / "run", polyak=True, **DIGITS)
    assert main(["export", str(folder / "run"), str(folder / "export")]) == 0
    return folder


@pytest.mark.slow
def test_every_command_works_on_an_export(folders, glow, tmp_path):
    """With the run's values; with its pictures, but for the edges of bins; and either reads the other's files."""
    said: dict[str, list[str]] = {}
    for name in ("run", "export"):
        model, out = folders / name, tmp_path / name
        out.mkdir()
        said[name] = [
            glow("evaluate", model, *DATA, "--n", 20),
            glow("sample", model, "--n", 10, "--out", out / "s.png"),
            glow("encode", model, *DATA, "test:0-3", "--label", 2, "--out", out / "l.npz"),
            glow("attributes", model, *DATA, "--n", 64, "--out", out / "a.npz"),
        ]
    run, export = tmp_path / "run", tmp_path / "export"
    assert said["run"][0].partition(" (")[0] == said["export"][0].partition(" (")[0]
    assert all("Polyak average after step 7, exported to" in line for line in said["export"])
    assert (picture(run / "s.png") != picture(export / "s.png")).mean() < 0.01
    for file, array in (("l.npz", "latents"), ("a.npz", "directions")):
        a, b = np.load(run / file), np.load(export / file)
        np.testing.assert_allclose(a[array], b[array], atol=1e-4)
        assert a["model"] == b["model"]
    model = folders / "export"
    images = [model, *DATA, "test:0", "test:1"]
    assert "2 of 2 images came back exactly" in glow("reconstruct", *images)
    glow("interpolate", *images, "--frames", 3)
    glow("manipulate", *images, "--attributes", run / "a.npz", "--names", 1)
    glow("decode", model, run / "l.npz")
    assert len(list((tmp_path / "decoded").iterdir())) == 4


def test_the_highest_version_is_taken_or_the_one_that_is_named(folders, glow, tmp_path):
    shutil.copytree(folders / "export" / "1", tmp_path / "export" / "1")
    shutil.copytree(folders / "export" / "1", tmp_path / "export" / "10")
    (tmp_path / "export" / "11").mkdir()  # no model in it
    assert find_model(tmp_path / "export").version == tmp_path / "export" / "10"
    assert find_model(tmp_path / "export" / "1").version == tmp_path / "export" / "1"
    assert "exported to" in glow("sample", tmp_path / "export", "--n", 1)


def test_what_export_says(folders, glow, error, tmp_path):
    line = glow("export", folders / "run", tmp_path / "new" / "out", "--raw")
    assert line.startswith(f"{tmp_path / 'new' / 'out' / '1'}: ")
    assert "MB; raw weights after step 7" in line
    assert "is an export already" in error("export", tmp_path / "new" / "out", tmp_path / "again")
    assert "holds something else (there is a config.json)" in error("export", folders / "run", folders / "run")
    (tmp_path / "file").write_text("")
    assert "OUT " in error("export", folders / "run", tmp_path / "file")
    assert "holds one set of weights" in error("sample", tmp_path / "new" / "out", "--polyak")


def test_exports_that_are_damaged(folders, error, tmp_path):
    def damaged(*parts: str, content: bytes = b"") -> str:
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(folders / "export", tmp_path / "bad")
        tmp_path.joinpath("bad", "1", *parts).write_bytes(content)
        return error("sample", tmp_path / "bad")

    assert "damaged" in damaged("saved_model.pb", content=b"\x08\x01no")
    assert "damaged" in damaged("variables", "variables.index", content=b"no")
    assert "not a JSON file" in damaged("assets", "config.json")
    assert "origin.json: missing or damaged" in damaged("assets", "origin.json", content=b"[]")


def test_the_converter_of_litert_is_silent(folders, tmp_path, capfd):
    assert main(["export", str(folders / "run"), str(tmp_path / "a.tflite"), "--format", "tflite"]) == 0
    assert capfd.readouterr().err == ""


def test_a_litert_file(folders, glow, error, tmp_path):
    sizes = []
    for name, more in (("a", []), ("b", ["--float16"])):
        path = tmp_path / "new" / f"{name}.tflite"
        line = glow("export", folders / "run", path, "--format", "tflite", "--weights", "last", *more)
        assert line == f"{path}: {path.stat().st_size / 1e6:.1f} MB; raw weights after step 7\n"
        sizes.append(path.stat().st_size)
    live = open_model(find_model(folders / "run"), "last").glow
    x, y, noise = random_images(live.config, 2), [1, 7], np.full([2, 8, 8, 1], 0.001, np.float32)
    runner = tf.lite.Interpreter(model_path=str(tmp_path / "new/a.tflite")).get_signature_runner("log_prob_given_noise")
    log_prob = runner(images=x, label=np.array(y, np.int32), noise=noise)["log_prob"]
    np.testing.assert_allclose(log_prob, live.log_prob(x, y, noise), rtol=2e-6)
    assert "the name must end in .tflite" in error("export", folders / "run", tmp_path / "x", "--format", "tflite")
    assert "--float16 is for --format tflite" in error("export", folders / "run", tmp_path / "x", "--float16")
    assert not (tmp_path / "x").exists()


def test_an_export_tells_which_images_left_float32(folders, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", str(folders / "export"), "--n", "2", "--temperature", "0.5", "3e38"]) == 0
    assert "2 of 4 images left float32" in capsys.readouterr().err
    loaded = tf.saved_model.load(str(folders / "export" / "1"))
    label, temperature = tf.constant([0, 1]), tf.constant(0.5)
    sampled = loaded.signatures["sample"](n=tf.constant(2), label=label, temperature=temperature, seed=tf.constant(0))
    assert sampled["finite"].numpy().tolist() == [True, True]


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (AssertionError(), ValueError, r"1: damaged \(AssertionError\)$"),
        (RuntimeError("a\nb"), ValueError, r"1: damaged \(a\)$"),
        (tf.errors.ResourceExhaustedError(None, None, "no memory"), tf.errors.ResourceExhaustedError, "no memory"),
        (MemoryError("no memory"), MemoryError, "no memory"),
    ],
)
def test_what_is_no_damage(folders, monkeypatch, raised, kind, message):
    def load(path: str) -> None:
        raise raised

    monkeypatch.setattr(tf.saved_model, "load", load)
    with pytest.raises(kind, match=message):
        open_model(find_model(folders / "export"))


def test_an_export_says_what_model_it_is(folders):
    live = open_model(find_model(folders / "run")).glow
    exported = open_model(find_model(folders / "export")).glow
    assert exported.fingerprint() == live.fingerprint()
    assert exported.config == live.config
    assert json.loads((folders / "export" / "1" / "assets" / "config.json").read_text())["n_y"] == 10
    x = random_images(live.config, 2)
    with pytest.raises(ValueError, match="labels from 10 to 10"):
        exported.encode(x[:1], [10])
    with pytest.raises(ValueError, match="this model takes uint8 images"):
        exported.encode(x / 255)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attributes", "none.npz"], "--attributes none.npz: there is no such file"),
        (["--names", "1"], "--names are of attributes: give --attributes too"),
        (["--faces"], "--faces: faces are found in RGB pictures"),
        (["--eyes", "0.3", "0.4"], "--eyes says where faces have their eyes: give --faces too"),
        (["--port", "65536"], "'65536': a whole number from 0 to 65535 is needed"),
        (["--images", "none.png"], "none.png: there is no such file or folder"),
    ],
)
def test_what_demo_does_not_take(folders, error, words, message):
    assert message in error("demo", folders / "export", *words)


def test_a_port_that_is_taken(folders, error):
    """Told before anything is loaded."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is not available (Address already in use); give another" in error(
            "demo", folders / "export", "--port", port
        )


def test_more_examples_than_are_shown(folders, capsys, tmp_path):
    for i in range(70):
        (tmp_path / f"{i:02}.png").write_bytes(b"no picture")
    assert main(["demo", str(folders / "export"), "--port", "0", "--images", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "warning: --images: the first 64 of 70 images are shown" in said
    assert "00.png is no PNG or JPEG image" in said  # images are read before the model is


def test_where_eyes_cannot_be(models, error):
    assert "--eyes: X is between 0 and 0.5" in error("demo", models / "rgb", "--faces", "--eyes", "0.6", "0.4")
