"""python -m glow_tf import-openai."""

from __future__ import annotations

import json

import numpy as np
import pytest

import glow_tf
from tests.golden_cases import Case

pytestmark = pytest.mark.usefixtures("untraced_module")


def written(tmp_path, case, **changes):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**case.config.to_dict(), **changes}))
    return ["import-openai", case.folder / "model.ckpt", "--config", path, "--out", tmp_path / "model"]


def test_the_saved_model_gives_the_original_s_numbers(glow, tmp_path):
    case = Case("invconv_affine_learntop")
    assert "raw weights" in glow(*written(tmp_path, case))
    model = glow_tf.load(tmp_path / "model")
    np.testing.assert_allclose(model.bits_per_dim(case["x"], None, case["noise"]), case["bits_x"], rtol=1e-5)
    assert "16 samples" in glow("sample", tmp_path / "model")


def test_the_average(glow, tmp_path):
    case = Case("train_adam")
    words = written(tmp_path, case)
    words[1] = case.folder / "end.ckpt"
    assert "Polyak averages" in glow(*words, "--average")
    wanted = glow_tf.load_openai_checkpoint(words[1], case.config, average=True).named_variables()
    for name, value in glow_tf.load(tmp_path / "model").named_variables().items():
        np.testing.assert_array_equal(value, wanted[name])


def test_nothing_is_overwritten(glow, error, tmp_path):
    words = written(tmp_path, Case("reverse_additive"))
    glow(*words)
    assert "has a config.json already" in error(*words)


def test_the_prefix_may_be_the_index(glow, tmp_path):
    words = written(tmp_path, Case("reverse_additive"))
    words[1] = f"{words[1]}.index"
    glow(*words)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"depth": 5}, "it lacks model/0/"),
        ({"width": 5}, "where this configuration needs"),
        ({"flow_permutation": "invconv"}, "it lacks model/0/0/invconv/W"),
        ({"image_size": 7}, "config.json: image_size=7"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_a_configuration_that_does_not_fit(error, tmp_path, changes, what):
    assert what in error(*written(tmp_path, Case("reverse_additive"), **changes))
    assert not (tmp_path / "model").exists()


def test_there_is_no_checkpoint(error, tmp_path):
    words = written(tmp_path, Case("reverse_additive"))
    words[1] = tmp_path / "none.ckpt"
    assert "no checkpoint here" in error(*words)


def test_a_damaged_checkpoint(error, tmp_path):
    words = written(tmp_path, Case("reverse_additive"))
    (tmp_path / "bad.ckpt.index").write_bytes(b"nonsense")
    words[1] = tmp_path / "bad.ckpt"
    assert "bad.ckpt: not a TensorFlow checkpoint" in error(*words)


def test_the_average_that_is_not_there(error, tmp_path):
    assert "no Polyak average" in error(*written(tmp_path, Case("reverse_additive")), "--average")


def test_an_out_that_cannot_be(error, tmp_path):
    words = written(tmp_path, Case("reverse_additive"))
    (tmp_path / "model").write_text("")
    assert "is a file; a folder is needed" in error(*words)
