"""An export gives the live model's numbers, and says what it does not take."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.flow.multiscale import MultiScaleFlow
from glow_tf.serving import export as export_module
from glow_tf.serving.exported import ExportedModel
from glow_tf.serving.signatures import SIGNATURES
from tests.eagerly import eagerly
from tests.near import assert_near
from tests.random_weights import context_for, label_of, random_glow, random_images
from tests.serving.conftest import KINDS
from tests.tolerances import EXPORT


def compare(given, wanted, kind: str) -> None:
    given, wanted = np.asarray(given), np.asarray(wanted)
    assert given.dtype == wanted.dtype
    assert_near(kind, given, wanted, EXPORT[kind])


def same_images(given, wanted) -> None:
    """Equal but where rounding moved a value over the edge of its bin."""
    assert np.asarray(given).dtype == np.uint8
    different = np.asarray(given) != np.asarray(wanted)
    assert_near("share of values that differ", different.mean(), 0.0, EXPORT["images"])


@eagerly()
def live(glow, x, label, latents) -> dict[str, np.ndarray]:
    """What the signatures should return."""
    y = label if glow.config.takes_labels else None
    noise, context = glow.draw_noise(x.shape, [5, 0]), context_for(glow, x)
    return {
        "bits_per_dim": glow.bits_per_dim(x, y, noise, context),
        "log_prob": glow.log_prob(x, y, noise, context),
        "encode": glow_tf.flatten_latents(glow.encode(x, y, context=context)),
        "decode": glow.decode(glow_tf.unflatten_latents(glow.config, latents), y, context),
        "sample": glow.sample(len(x), y, 0.7, seed=5, context=context),
    }


@pytest.fixture(scope="module")
def load(exports):
    """load(kind) -> its export, loaded once."""
    return functools.cache(lambda kind: tf.saved_model.load(str(exports(kind)[1])))


@pytest.fixture
def loaded(load):
    return load("classes")


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * ("float" in kind)) for kind in KINDS])
def test_the_live_model_s_numbers(kind, exports, load):
    glow, loaded = exports(kind)[0], load(kind)
    for n in (1, 4) if kind == "classes" else (3,):  # one graph for any batch
        x = random_images(glow.config, n)
        label = np.arange(n, dtype=np.int32) % glow.config.n_y
        latents = np.random.default_rng(1).normal(0, 0.7, [n, glow.config.dimensions]).astype(glow.dtype.as_numpy_dtype)
        wanted = live(glow, x, label, latents)
        temperature = tf.constant(0.7, glow.dtype)
        inputs = {"images": x, "label": label, "latents": latents, "n": n, "temperature": temperature, "seed": 5}
        context = context_for(glow, x)
        if context is not None:
            inputs["context"] = context
        for name in SIGNATURES:
            signature = loaded.signatures[name]
            takes = signature.structured_input_signature[1]
            outputs = signature(**{key: tf.constant(inputs[key], spec.dtype) for key, spec in takes.items()})
            if name in ("decode", "sample"):
                np.testing.assert_array_equal(outputs.pop("finite"), np.full([n], True))
            (given,) = outputs.values()
            if given.dtype == tf.uint8:
                same_images(given, wanted[name])
            else:
                compare(given, wanted[name], name)


@pytest.mark.slow
def test_it_needs_tensorflow_only(exports, alone):
    glow, version = exports("classes")
    x, label = random_images(glow.config, 3), np.array([2, 0, 1], np.int32)
    code = """
loaded = tf.saved_model.load(sys.argv[1])
given = np.load("in.npz")
s = loaded.signatures
x, label = tf.constant(given["x"]), tf.constant(given["label"])
out = {}
for name in ("bits_per_dim", "log_prob"):
    out[name] = s[name](images=x, label=label, seed=tf.constant(5))[name]
out["encode"] = s["encode"](images=x, label=label)["latents"]
out["decode"] = s["decode"](latents=out["encode"], label=label)["images"]
out["sample"] = s["sample"](n=tf.constant(3), label=label, temperature=tf.constant(0.7), seed=tf.constant(5))["images"]
np.savez("out.npz", **{name: value.numpy() for name, value in out.items()})
assert not {"glow_tf", "data_loaders"} & set(sys.modules)
"""
    said, given = alone(code, version, x=x, label=label)
    wanted = live(glow, x, label, given["encode"])
    for name in ("bits_per_dim", "log_prob", "encode"):
        compare(given[name], wanted[name], name)
    same_images(given["sample"], wanted["sample"])
    np.testing.assert_array_equal(given["decode"], x)
    assert "gradient" not in said  # TensorFlow's warning at loading of gradients that were not saved


@pytest.mark.parametrize("direction", ["to_latents", "from_latents"])
def test_the_flow_is_traced_once_in_each_direction(direction, tmp_path):
    method = getattr(MultiScaleFlow, direction)
    with mock.patch.object(MultiScaleFlow, direction, autospec=True, side_effect=method) as traced:
        glow_tf.export_saved_model(random_glow(image_size=4, n_levels=1, depth=1), tmp_path)
    assert traced.call_count == 1


def test_the_context_of_images_travels_too(exports, load):
    (glow, version), loaded = exports("context of images"), load("context of images")
    x = random_images(glow.config, 3)
    np.testing.assert_array_equal(loaded.signatures["context"](images=tf.constant(x))["context"], glow.context_of(x))
    opened = ExportedModel(version)
    noise, context = np.asarray(glow.draw_noise(x.shape, [1, 0])), glow.context_of(x)
    with eagerly():
        log_prob = glow.log_prob(x, noise=noise)
    compare(opened.log_prob(x, noise=noise), log_prob, "log_prob")
    same_images(opened.decode(opened.encode(x), context=context), x)
    with pytest.raises(ValueError, match="takes a floating-point context"):
        opened.sample(3)
    label = tf.zeros([0], tf.int32)
    for wrong in (context[:2], context[:, :4]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="context: "):
            loaded.signatures["encode"](images=tf.constant(x), label=label, context=wrong)


def test_a_classifier_travels_too(exports, loaded):
    glow, _ = exports("classes")
    x = random_images(glow.config, 3)
    noise = glow.draw_noise(x.shape, [1, 0])
    logits = loaded.classify(tf.constant(x), noise)["logits"]
    compare(logits, glow.classify(x, noise), "encode")


@pytest.mark.parametrize("name", ["log_prob_given_noise", "classify"])
def test_noise_and_images_of_methods(loaded, name):
    """Noise of one image would broadcast; shapes that are unknown while tracing are seen when it runs."""
    x, noise = tf.zeros([3, 8, 8, 3], tf.uint8), tf.zeros([3, 8, 8, 3])
    label = [] if name == "classify" else [tf.zeros([3], tf.int32)]
    method = getattr(loaded, name)

    @tf.function(input_signature=[tf.TensorSpec(None, tf.uint8), tf.TensorSpec(None)], autograph=False)
    def call(x, noise):
        return method(x, *label, noise)

    call(x, noise)
    needed = r"noise: the shape of the images is needed:.*\[3 8 8 3\]"
    for wrong in (noise[:1], noise[..., :1], noise[0]):
        with pytest.raises(tf.errors.InvalidArgumentError, match=needed):
            call(x, wrong)
    with pytest.raises(tf.errors.InvalidArgumentError, match=needed):
        method(x, *label, noise[:1])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"images: \[N, 8, 8, 3\] is needed, not the shape"):
        call(x[:, :4], noise[:, :4])


def test_all_weights_are_constants(exports):
    """Nothing is inverted, decomposed or trained at run time; training the live model on does not change the export."""
    glow = random_glow(lu_decomposed=True)
    frozen = export_module.FrozenGlow(glow)
    before = {name: constant.numpy() for name, constant in frozen.constants.items()}
    for variable in glow.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    for name, constant in frozen.constants.items():
        np.testing.assert_array_equal(constant, before[name])
        assert not constant.trainable
    for kind in ("affine, LU, learned top", "classes"):
        graph = (exports(kind)[1] / "saved_model.pb").read_bytes()
        for operation in (b"MatrixInverse", b"MatrixTriangularSolve", b"LogMatrixDeterminant"):
            assert operation not in graph


def test_versions_are_added_and_never_touched(tmp_path):
    glow = random_glow(depth=1, n_levels=1)
    out = tmp_path / "deep" / "out"
    assert glow_tf.export_saved_model(glow, out) == out / "1"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    (out / "7").mkdir()
    (out / "7" / "note").write_text("someone else's")
    (out / "not-a-version").write_text("")
    assert glow_tf.export_saved_model(glow, str(out), weights="mine") == out / "8"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sorted(path.name for path in out.iterdir()) == ["1", "7", "8", "not-a-version"]
    assert json.loads((out / "8" / "assets" / "config.json").read_text()) == json.loads(
        json.dumps(glow.config.to_dict())
    )
    assert json.loads((out / "8" / "assets" / "origin.json").read_text())["weights"] == "mine"


def test_another_export_that_is_quicker_keeps_its_number(tmp_path, monkeypatch):
    glow, (out, real) = random_glow(depth=1, n_levels=1), (tmp_path, export_module.versions)

    def versions(folder: Path) -> list[int]:
        monkeypatch.setattr(export_module, "versions", real)
        (out / "1").mkdir()
        (out / "1" / "saved_model.pb").write_text("the other's")
        return []

    monkeypatch.setattr(export_module, "versions", versions)
    assert glow_tf.export_saved_model(glow, out) == out / "2"
    assert (out / "1" / "saved_model.pb").read_text() == "the other's"


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        (Path(args[1]) / "variables").mkdir(parents=True)
        raise OSError("no space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        glow_tf.export_saved_model(random_glow(depth=1, n_levels=1), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["config.json", "weights.npz", "saved_model.pb"])
def test_a_folder_that_holds_something_else(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=f"holds something else \\(there is a {name}\\)"):
        glow_tf.export_saved_model(random_glow(depth=1, n_levels=1), tmp_path)
    with pytest.raises(ValueError, match="this is a file"):
        glow_tf.export_saved_model(random_glow(depth=1, n_levels=1), tmp_path / name)


@pytest.fixture
def signatures(loaded):
    return loaded.signatures


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("encode", {"label": [0, 1]}, "label: one for each of so many images is needed"),
        ("encode", {"label": [3]}, "label: this model has the classes 0 to 2, not"),
        ("decode", {"label": [-1]}, "label: this model has the classes 0 to 2, not"),
        ("log_prob", {"label": []}, "label: one for each of so many images is needed"),
        ("sample", {"n": 0, "label": []}, "n: the number of samples must be at least 1"),
        ("sample", {"n": 2}, "label: one for each of so many images is needed"),
        ("sample", {"temperature": -0.1}, "temperature: it must be finite, 0 or more"),
        ("sample", {"temperature": float("nan")}, "temperature: it must be finite, 0 or more"),
    ],
)
def test_values_that_it_does_not_take(signatures, name, inputs, message):
    given = {"images": np.zeros([1, 8, 8, 3], np.uint8), "latents": np.zeros([1, 192], np.float32), "label": [0]}
    given |= {"n": 1, "temperature": 1.0, "seed": 0, **inputs}
    takes = signatures[name].structured_input_signature[1]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures[name](**{key: tf.constant(given[key], spec.dtype) for key, spec in takes.items()})


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("encode", tf.zeros([1, 8, 4, 3], tf.uint8), r"images: \[N, 8, 8, 3\] is needed, not the shape"),
        ("encode", tf.zeros([8, 8, 3], tf.uint8), r"images: \[N, 8, 8, 3\] is needed, not the shape"),
        ("encode", tf.zeros([1, 8, 8, 3]), "expected to be a uint8 tensor but is a float tensor"),
        ("bits_per_dim", tf.zeros([1, 8, 8, 1], tf.uint8), r"images: \[N, 8, 8, 3\] is needed, not the shape"),
        ("decode", tf.zeros([1, 191]), r"latents: \[N, 192\] is needed, not the shape"),
    ],
)
def test_shapes_and_types_that_it_does_not_take(signatures, name, given, message):
    inputs = {"latents" if name == "decode" else "images": given, "label": tf.constant([0])}
    if name == "bits_per_dim":
        inputs["seed"] = tf.constant(0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures[name](**inputs)


def test_a_label_for_all_is_not_enough(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError, match="label: one for each of so many images"):
        signatures["encode"](images=tf.zeros([2, 8, 8, 3], tf.uint8), label=tf.constant(0))


def test_models_without_classes_ignore_labels(exports, load):
    kind = "affine, LU, learned top"
    x = tf.constant(random_images(exports(kind)[0].config, 2))
    encode = load(kind).signatures["encode"]
    for label in ([], [99], [1, 2, 3]):
        np.testing.assert_array_equal(
            encode(images=x, label=tf.constant(label, tf.int32))["latents"],
            encode(images=x, label=tf.constant([0, 0]))["latents"],
        )


@pytest.mark.slow
def test_saved_model_cli_lists_the_signatures(exports):
    tool = Path(sys.executable).with_name("saved_model_cli")
    command = [tool, "show", "--dir", exports("classes")[1], "--tag_set", "serve", "--signature_def", "sample"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for line in said.splitlines()]
    for name, shape in (("n", "()"), ("label", "(-1)"), ("temperature", "()"), ("seed", "()")):
        at = lines.index(f"inputs['{name}'] tensor_info:")
        assert lines[at + 2] == f"shape: {shape}"
    assert lines[lines.index("outputs['images'] tensor_info:") + 2] == "shape: (-1, 8, 8, 3)"


def test_classes_make_a_difference(exports):
    """Or the comparisons above would not see a label that is ignored."""
    glow, _ = exports("classes")
    x = random_images(glow.config, 3)
    a, b = (glow_tf.flatten_latents(glow.encode(x, y)) for y in (label_of(glow.config, 3), [0, 0, 0]))
    assert not np.allclose(a, b)
