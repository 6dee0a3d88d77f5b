"""What the page does, without the page: latents moved, uploads read, faces aligned, arguments of strangers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

import glow_tf
from glow_tf.latents.files import Attributes
from glow_tf.serving.demo.editor import Editor, number
from glow_tf.serving.demo.faces import EYES, Face, FaceFinder, align
from glow_tf.serving.demo.uploads import UploadError, Uploads
from tests.data_loaders.conftest import SHARED_DATA
from tests.random_weights import random_glow, random_images

pytestmark = pytest.mark.usefixtures("untraced_module")

FACES = SHARED_DATA / "faces256" / "images"


@pytest.fixture(scope="module")
def glow():
    return random_glow(ycond=True, n_y=3, channels=3, image_size=8)


@pytest.fixture(scope="module")
def attributes(glow):
    directions = np.random.default_rng(0).normal(0, 0.3, [2, glow.config.dimensions]).astype(np.float32)
    counts = np.array([3, 3])
    return Attributes(("big", "small"), directions, counts, counts, directions[0], 1, glow.fingerprint())


@pytest.fixture(scope="module")
def editor(glow, attributes):
    return Editor(glow, attributes, ["small", "big"])


def test_a_picture_that_is_not_moved_comes_back(editor, glow):
    (x,) = random_images(glow.config, 1)
    latents = editor.encode(x)
    np.testing.assert_array_equal(editor.picture(latents, alphas=[0, 0]), x)
    np.testing.assert_array_equal(
        latents, glow_tf.flatten_latents(glow.encode(x[None], [1]))[0]
    )  # the label of the file


def test_sliders_and_blend_are_arithmetic_of_latents(editor, glow, attributes):
    a, b = (editor.encode(x) for x in random_images(glow.config, 2))
    wanted = 0.75 * a + 0.25 * b + 0.5 * attributes.direction("small") - attributes.direction("big")
    eps = glow_tf.unflatten_latents(glow.config, wanted[None].astype(np.float32))
    different = editor.picture(a, b, 0.25, [0.5, -1]) != glow.decode(eps, [1])[0].numpy()
    assert different.mean() < 0.01  # rounding at the edges of bins
    np.testing.assert_array_equal(editor.picture(a, None, 0.25, [0, 0]), editor.picture(a, b, 0, [0, 0]))


def test_samples_are_those_of_the_model(editor, glow):
    np.testing.assert_array_equal(editor.sample(4, 0.7, None, 3), glow.sample(4, [0, 1, 2, 0], 0.7, seed=3))
    np.testing.assert_array_equal(editor.sample(2, 0.7, 2, 3), glow.sample(2, [2, 2], 0.7, seed=3))
    alone = editor.sample(4, 0.7, None, 3, only=1)
    assert alone.shape == (1, 8, 8, 3)
    assert (alone[0] != glow.sample(4, [0, 1, 2, 0], 0.7, seed=3)[1].numpy()).mean() < 0.01  # edges of bins


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "0", None, True, [0], 1.51, {"__class__": "x"}])
def test_numbers_of_strangers(editor, bad):
    latents = np.zeros(editor.config.dimensions, np.float32)
    with pytest.raises(ValueError, match="attribute: "):
        editor.picture(latents, alphas=[bad, 0])
    with pytest.raises(ValueError, match="blend: "):
        editor.picture(latents, latents, bad, [0, 0])


def test_more_arguments_of_strangers(editor, glow, attributes):
    with pytest.raises(ValueError, match="there is no attribute 'no'"):
        Editor(glow, attributes, ["no"])
    with pytest.raises(ValueError, match="1 attributes; this page has 2"):
        editor.picture(np.zeros(editor.config.dimensions, np.float32), alphas=[0])
    for arguments in ((65, 1), (0, 1), (1, -0.1), (1, 2.1), (1, 1, 3), (1, 1, -1), (1, 1, 0, -1), (1, 1, 0, 2**31)):
        with pytest.raises(ValueError, match="is not from"):
            editor.sample(*arguments)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_uploads_are_cropped_and_checked(tmp_path, glow):
    uploads = Uploads(glow.config, eyes=None)
    assert not uploads.finds_faces
    (x,) = random_images(glow.config, 1)
    Image.fromarray(x).save(tmp_path / "small.png")
    image, note = uploads.read(tmp_path / "small.png", find_face=True)
    np.testing.assert_array_equal(image, x)
    assert note == "The centre of the picture."
    for name, content, message in (
        ("text.png", b"import os", "is no PNG or JPEG"),
        ("empty.png", b"", "is no PNG or JPEG"),
        ("short.png", (tmp_path / "small.png").read_bytes()[:60], "cannot be decoded"),
        ("gif.png", b"GIF89a" + bytes(40), "is no PNG or JPEG"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UploadError, match=f"^This file {message}"):
            uploads.read(tmp_path / name, find_face=False)
    Image.new("L", (7, 9)).save(tmp_path / "tiny.png")
    with pytest.raises(UploadError, match="This file is 9x7, smaller than 8x8"):
        uploads.read(tmp_path / "tiny.png", find_face=False)
    Image.new("1", (2**14, 2**13)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 2**16
    with pytest.raises(UploadError, match="claims 8192x16384 pixels"):
        uploads.read(tmp_path / "bomb.png", find_face=False)


def test_where_there_is_no_face_it_is_the_centre(tmp_path):
    uploads = Uploads(random_glow(image_size=8).config)
    Image.new("RGB", (200, 100), "teal").save(tmp_path / "plain.png")
    image, note = uploads.read(tmp_path / "plain.png", find_face=True)
    assert note == "No face was found: this is the centre of the picture."
    np.testing.assert_array_equal(image, np.broadcast_to([0, 128, 128], [8, 8, 3]))


@pytest.mark.parametrize("size", [(8, 60000), (40000, 64)])
def test_strips_have_no_face(tmp_path, size):
    """They would have no pixels left where faces are searched, or more than OpenCV takes."""
    uploads = Uploads(glow_tf.GlowConfig(image_size=8))
    Image.new("RGB", size, "teal").save(tmp_path / "strip.png")
    assert uploads.read(tmp_path / "strip.png", find_face=True)[1].startswith("No face was found")


@pytest.mark.parametrize("size", [(3000, 1), (64, 63)])
def test_a_face_makes_no_small_picture_larger(tmp_path, monkeypatch, size):
    found = Face((20.0, 20.0), (40.0, 20.0), seen=True)
    monkeypatch.setattr(FaceFinder, "find", lambda self, pixels: found)
    Image.new("RGB", size).save(tmp_path / "small.png")
    with pytest.raises(UploadError, match=f"This file is {size[1]}x{size[0]}, smaller than 64x64"):
        Uploads(glow_tf.GlowConfig(image_size=64)).read(tmp_path / "small.png", find_face=True)


@pytest.mark.parametrize("degrees", [-30, 0, 50])
@pytest.mark.parametrize(("size", "eyes"), [((64, 64), EYES), ((48, 32), (0.3, 0.6))])
def test_alignment_puts_the_eyes_in_place(degrees, size, eyes):
    """Two discs on black, turned, come to lie where the eyes should."""
    angle, middle, apart = np.deg2rad(degrees), np.array([330.0, 210.0]), 130.0
    half = 0.5 * apart * np.array([np.cos(angle), np.sin(angle)])
    left, right = ((float(x), float(y)) for x, y in (middle - half, middle + half))
    picture = Image.new("RGB", (640, 480))
    for (x, y), color in ((left, "red"), (right, "lime")):
        ImageDraw.Draw(picture).ellipse([x - 14, y - 14, x + 14, y + 14], color)
    moved = align(np.asarray(picture), Face(left, right, seen=True), size, eyes).astype(float)
    assert moved.shape == (*size, 3)
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5
    for channel, share in ((0, eyes[0]), (1, 1 - eyes[0])):
        weight = moved[..., channel] / moved[..., channel].sum()
        at = (weight * xs).sum(), (weight * ys).sum()
        assert np.hypot(at[0] - share * size[1], at[1] - eyes[1] * size[0]) < 0.3  # pixels


@pytest.mark.skipif(not FACES.is_dir(), reason=f"no pictures of faces in {FACES}")
def test_faces_are_found_in_photographs():
    """Most of the faces, upright or turned a little; on these aligned pictures the eyes' places are known."""
    finder, found, near = FaceFinder(), 0, 0
    paths = sorted(FACES.glob("*.png"))[:24]
    for path in paths:
        with Image.open(path) as picture:
            face = finder.find(np.asarray(picture.convert("RGB").rotate(8, Image.Resampling.BICUBIC)))
        found += face is not None
        if face is not None:
            centre = np.add(face.left, face.right) / 2
            near += np.hypot(*(centre - [128, 123])) < 20
    assert found >= 0.8 * len(paths)
    assert near >= 0.7 * len(paths)


def test_a_page_without_attributes_classes_or_faces(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    from glow_tf.serving.demo.page import build

    model = random_glow(channels=1)
    examples = random_images(model.config, 3)
    page = build(Editor(model), Uploads(model.config, eyes=None), examples, "title")
    labels = {block.label: block.visible for block in page.blocks.values() if getattr(block, "label", None)}
    assert not labels["Class"]
    assert not labels["Find the face and align it"]
    assert labels["Blend with the second picture"]


@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf"), True, "1", None])
def test_what_is_no_number_for_the_model_is_refused(value):
    """JSON has all of these; 10**400 is a whole number beyond all floats."""
    with pytest.raises(ValueError, match=r"seed: .* is not a number"):
        number("seed", value, 0, 1)


def test_a_picture_s_context_is_kept_and_answered():
    from glow_tf.serving.demo.actions import Actions

    model = random_glow(channels=3, image_size=8, context="grayscale")
    editor, (x, other) = Editor(model), random_images(model.config, 2)
    context = editor.context(x)
    assert context is not None and context.shape == (8, 8, 1)
    latents = editor.encode(x)
    np.testing.assert_array_equal(editor.picture(latents, context=context), x)
    np.testing.assert_array_equal(editor.shown(context)[..., 0], editor.shown(context)[..., 1])
    wanted = model.sample(3, temperature=0.7, seed=2, context=np.repeat(context[None], 3, 0))
    np.testing.assert_array_equal(editor.sample(3, 0.7, None, 2, context), wanted)
    actions = Actions(editor, Uploads(model.config, eyes=None), np.stack([x, other]))
    with pytest.raises(ValueError, match="First open a picture"):
        actions.sample(0.7, "every class in turn", 0, None)
    opened = actions._opened(x)
    np.testing.assert_array_equal(opened[3], context)
    assert "data:image/png" in opened[4]
    assert actions.sample(0.7, "every class in turn", 0, context)[1].context is context
    assert "data:image/png" in actions.show(opened[0], None, context, 0)[0]
    assert Editor(random_glow()).context(random_images(random_glow().config, 1)[0]) is None


def test_the_page_of_a_conditional_model(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    from glow_tf.serving.demo.page import build

    for kind, shown in (("grayscale", True), ("none", False)):
        model = random_glow(image_size=8, context=kind)
        page = build(Editor(model), Uploads(model.config, eyes=None), random_images(model.config, 2), "title")
        visible = {block.elem_id: block.visible for block in page.blocks.values() if getattr(block, "elem_id", None)}
        assert visible["context"] is shown
