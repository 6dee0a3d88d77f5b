"""python -m glow_tf reconstruct, encode, decode, interpolate, attributes and manipulate."""

from __future__ import annotations

import io
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import data_loaders
import glow_tf
from glow_tf.commands.decode import file_names
from glow_tf.latents.files import read_attributes, read_latents
from glow_tf.latents.interpolation import path_through
from tests.commands.conftest import frames, picture

pytestmark = pytest.mark.usefixtures("untraced")


def pixels(folder):
    return np.stack([picture(path) for path in sorted(folder.glob("*.png"))])


def test_reconstruct(glow, models, photos, tmp_path):
    said = glow("reconstruct", models / "rgb", photos, "--columns", 2, "--scale", 1)
    assert "3 of 3 images came back exactly" in said
    grid = picture(tmp_path / "reconstructions.png").reshape(4, 8, 2, 8, 3).swapaxes(1, 2)
    x = pixels(photos)
    np.testing.assert_array_equal(grid[[0, 0, 2], [0, 1, 0]], x)
    np.testing.assert_array_equal(grid[[1, 1, 3], [0, 1, 0]], x)
    assert not grid[2:, 1].any()


def test_reconstruct_images_of_the_run_s_data(glow, models):
    assert "4 of 4 images came back" in glow("reconstruct", models / "run", "test:0-2", "train:5")


def test_encode_and_decode_give_the_images_back(glow, models, photos, tmp_path):
    glow("encode", models / "rgb", photos, photos / "a.png", "--batch", 3, "--out", "l.npz")
    held = read_latents(tmp_path / "l.npz", 192)
    assert held.names == ("a.png", "b.png", "c.png", str(photos / "a.png"))
    x = pixels(photos)
    model = glow_tf.load(models / "rgb")
    np.testing.assert_allclose(held.latents[:3], glow_tf.flatten_latents(model.encode(x)), atol=1e-4)
    glow("decode", models / "rgb", "l.npz", "--out", "d", "--batch", 3)
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["a-2.png", "a.png", "b.png", "c.png"]
    np.testing.assert_array_equal(pixels(tmp_path / "d"), x[[0, 0, 1, 2]])


def test_a_class_conditional_model_decodes_with_the_label_it_encoded_with(glow, models, photos, tmp_path):
    glow("encode", models / "classes", photos, "--label", 2)
    glow("decode", models / "classes", "latents.npz")
    np.testing.assert_array_equal(pixels(tmp_path / "decoded"), pixels(photos))


def test_latents_of_another_model_are_pointed_out(models, photos, tmp_path, monkeypatch, capsys):
    from glow_tf.commands import main

    monkeypatch.chdir(tmp_path)
    assert main(["encode", str(models / "rgb"), str(photos)]) == 0
    assert capsys.readouterr().err == ""
    assert main(["decode", str(models / "classes"), "latents.npz"]) == 0
    assert "warning: latents.npz was made with another model" in capsys.readouterr().err


@pytest.mark.parametrize("way", [[], ["--spherical"]])
def test_interpolate(glow, models, photos, tmp_path, way):
    glow("interpolate", models / "rgb", photos, "--frames", 4, "--scale", 1, "--out", "i.png", "i.gif", *way)
    grid = picture(tmp_path / "i.png").reshape(2, 8, 4, 8, 3).swapaxes(1, 2)
    x = pixels(photos)
    np.testing.assert_array_equal(grid[[0, 0, 1, 1], [0, 3, 0, 3]], x[[0, 1, 1, 2]])
    model = glow_tf.load(models / "rgb")
    flat = path_through(glow_tf.flatten_latents(model.encode(x)), 4, spherical=bool(way))
    wanted = model.decode(glow_tf.unflatten_latents(model.config, flat)).numpy()
    assert np.abs(grid[0].astype(int) - wanted[:4]).max() <= 1
    assert frames(tmp_path / "i.gif") == (7, (8, 8))


def test_attributes_of_classes_and_what_they_do(glow, models, tmp_path):
    said = glow("attributes", models / "run", "--n", 60, "--names", 3, 8, "--batch", 25)
    data = data_loaders.load("digits")
    x, y = (part.numpy() for part in next(iter(data.batches_in_order("train", 60))))
    model = glow_tf.load(models / "run" / "model")
    latents = glow_tf.flatten_latents(model.encode(x)).numpy()
    held = read_attributes(tmp_path / "attributes.npz", 64)
    assert held.names == ("3", "8")
    for name in (3, 8):
        wanted = latents[y == name].mean(0) - latents[y != name].mean(0)
        np.testing.assert_allclose(held.direction(str(name)), wanted, atol=1e-4)
        assert f"{name}: {(y == name).sum()} with, {(y != name).sum()} without" in said

    glow("manipulate", models / "run", "test:0-1", "--attributes", "attributes.npz", "--names", "3", "8=2",
         "--steps", 3, "--low", 0, "--high", 1, "--scale", 1, "--out", "m.png", "m.gif")  # fmt: skip
    grid = picture(tmp_path / "m.png").reshape(4, 8, 3, 8).swapaxes(1, 2)
    images = next(iter(data.test_batches(2)))[0].numpy()
    np.testing.assert_array_equal(grid[:, 0], images[[0, 0, 1, 1], ..., 0])
    flat = glow_tf.flatten_latents(model.encode(images)).numpy()[1] + 2 * held.direction("8")
    wanted = model.decode(glow_tf.unflatten_latents(model.config, flat[None])).numpy()[0, ..., 0]
    assert np.abs(grid[3, 2].astype(int) - wanted).max() <= 1
    assert frames(tmp_path / "m.gif") == (3, (8, 32))

    glow("manipulate", models / "run", "test:0-1", "--attributes", "attributes.npz", "--names", "3", "8", "--together",
         "--steps", 5, "--scale", 1)  # fmt: skip
    assert picture(tmp_path / "manipulation.png").shape == (2 * 8, 5 * 8)


def test_attributes_of_a_csv(glow, error, models, photos, tmp_path, capsys):
    csv = tmp_path / "labels.csv"
    csv.write_text("filename,odd,all\na.png,1,1\nb.png,-1,1\nc.png,-1,1\n")
    words = ["--problem", "folder", "--data_dir", photos, "--attributes_file", csv, "--split", "train"]
    said = glow("attributes", models / "rgb", *words)
    assert "1 directions" in said
    assert read_attributes(tmp_path / "attributes.npz", 192).names == ("odd",)
    assert "none of all" in error("attributes", models / "rgb", *words, "--names", "all")
    assert "there is no even; there are: odd, all" in error("attributes", models / "rgb", *words, "--names", "even")
    csv.write_text("filename,odd\na.png,7\n")
    assert "line 2: value '7'; expected -1 or 1" in error("attributes", models / "rgb", *words)


def test_data_without_labels(error, models, photos):
    said = error("attributes", models / "rgb", "--problem", "folder", "--data_dir", photos)
    assert "neither attributes (attributes.csv) nor classes (sub-folders)" in said


def save(path, mode, size=(8, 8), **options):
    Image.new(mode, size).save(path, **options)


HOSTILE = {
    "text.png": (lambda path: path.write_text("hello"), "is no PNG or JPEG image"),
    "empty.png": (lambda path: path.touch(), "is no PNG or JPEG image"),
    "gif.png": (lambda path: save(path, "P", format="GIF"), "is no PNG or JPEG image"),
    "small.png": (lambda path: save(path, "RGB", (8, 7)), "is 7x8, smaller than 8x8"),
    "bomb.png": (lambda path: save(path, "1", (9000, 9000)), "claims 9000x9000 pixels"),
    "cut.png": (lambda path: path.write_bytes(png()[:-40]), "cannot be decoded"),
}


def png() -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("command", ["reconstruct", "encode"])
def test_images_that_cannot_be_used(error, models, tmp_path, command, name):
    make, what = HOSTILE[name]
    make(tmp_path / name)
    out = tmp_path / ("x.png" if command == "reconstruct" else "x.npz")
    out.write_bytes(b"before")
    assert f"{name} {what}" in error(command, models / "rgb", tmp_path / name, "--out", out)
    assert out.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, out.name])


def test_orientation_alpha_palette_and_16_bits(glow, models, tmp_path):
    image = Image.open(io.BytesIO(png()))
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "modes"
    folder.mkdir()
    image.save(folder / "turned.png", exif=exif)
    image.quantize(16).save(folder / "palette.png")
    Image.new("RGBA", (8, 8), (200, 0, 0, 0)).save(folder / "clear.png")
    Image.fromarray(np.full((8, 8), 0x1234, np.uint16)).save(folder / "deep.png")
    assert "4 of 4" in glow("reconstruct", models / "rgb", folder, "--scale", 1, "--out", "r.png")
    first = picture(tmp_path / "r.png")[:8]  # clear, deep, palette, turned
    assert (first[:, :8] == 255).all()
    assert (first[:, 8:16] == 0x12).all()
    np.testing.assert_array_equal(first[:, 24:], np.rot90(np.asarray(image), -1))


def test_larger_images_are_cropped_and_averaged(glow, models, tmp_path):
    pixels = np.zeros((16, 20, 3), np.uint8)
    pixels[:, 2:18:2] = 100
    Image.fromarray(pixels).save(tmp_path / "large.png")
    glow("reconstruct", models / "rgb", "large.png", "--scale", 1)
    assert (picture(tmp_path / "reconstructions.png") == 50).all()


def test_files_are_cropped_as_the_run_s_images(glow, error, models, tmp_path):
    """The centre is 50, the frame around it 200; without the crop the two are mixed."""
    run = tmp_path / "cropped"
    shutil.copytree(models / "run", run)
    config = json.loads((run / "config.json").read_text())
    config["train"]["crop"] = 8
    (run / "config.json").write_text(json.dumps(config))
    pixels = np.full((16, 20), 200, np.uint8)
    pixels[4:12, 6:14] = 50
    Image.fromarray(pixels).save(tmp_path / "large.png")
    for options, frame in (([], False), (["--crop", 0], True), (["--crop", 12], True)):
        glow("reconstruct", run, "large.png", "--scale", 1, *options)
        assert (picture(tmp_path / "reconstructions.png") != 50).any() == frame
    assert "smaller than the crop of 17x17 (--crop 0 takes" in error("encode", run, "large.png", "--crop", 17)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["interpolate", "rgb", "a.png"], "at least 2 images"),
        (["interpolate", "rgb", "a.png", "b.png", "--out", "x.mp4"], "must end in .png or .gif"),
        (["interpolate", "rgb", "a.png", "b.png", "--frames", "1"], "a whole number from 2 to 1000"),
        (["interpolate", "rgb", "a.png", "b.png", "--label", "1"], "not class-conditional"),
        (["reconstruct", "classes", "a.png", "--label", "3"], "classes 0 to 2"),
        (["reconstruct", "rgb", "none.png"], "none.png: there is no such file"),
        (["reconstruct", "rgb", "test:0"], "give --problem"),
        (["reconstruct", "run", "test:999999"], "has the test images 0 to 296"),
        (["reconstruct", "run", "test:5-4"], "FIRST-LAST"),
        (["reconstruct", "rgb", "."], "no images"),
        (["decode", "rgb", "none.npz"], "there is no such file"),
        (["decode", "rgb", "a.png"], "is not a readable .npz"),
        (["decode", "rgb", "none.npz", "--out", "a.png"], "there is no such file"),
        (["manipulate", "rgb", "a.png", "--attributes", "none.npz", "--names", "x"], "there is no such file"),
        (["manipulate", "rgb", "a.png", "--attributes", "a.png", "--names", "x", "--low", "1"], "must be below --high"),
        (["manipulate", "rgb", "a.png", "--attributes", "a.png", "--names", "x"], "is not a readable .npz"),
        (["attributes", "run", "--attributes_file", "a.csv"], "is for --problem folder, not digits"),
        (["attributes", "run", "--attributes_file", "a.csv", "--classes"], "contradict"),
        (["attributes", "run", "--names", "11"], "there is no 11; there are: 0, 1"),
        (["attributes", "run", "--out", "x.png"], "must end in .npz"),
    ],
)
def test_wrong_arguments(error, models, photos, tmp_path, words, what):
    words = [str(photos / word) if word in ("a.png", "b.png") else word for word in words]
    if words[2:3] == ["."]:
        (tmp_path / "empty").mkdir()
        words[2] = str(tmp_path / "empty")
    command, model, *rest = words
    assert what in error(command, models / model, *rest)


def test_a_wrong_attribute(glow, error, models):
    glow("attributes", models / "run", "--n", 30)
    words = ["manipulate", models / "run", "test:0", "--attributes", "attributes.npz", "--names"]
    assert "there is no attribute 'x'; there are: 0, 1" in error(*words, "x")
    assert "there is no attribute 'x'" in error(*words, "x=1")
    assert "'much': a number is needed" in error(*words, "3=much")
    said = error("manipulate", models / "rgb", "x.png", "--attributes", "attributes.npz", "--names", "3")
    assert "x.png: there is no such file" in said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_image(error, models, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "neither a file nor a folder" in error("encode", models / "rgb", tmp_path / "pipe.png")


def test_names_of_files_cannot_lead_elsewhere():
    names = ["../../x.png", "a/x.PNG", "X.jpeg", "", "..", "ü b.png", "\\..\\c", "-rf", "n" * 300]
    assert file_names(names) == ["x", "x-2", "X-3", "image", "image-2", "ü_b", "c", "rf", "n" * 100]
