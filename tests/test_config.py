"""GlowConfig takes OpenAI's numbers and our names, and says what is wrong with the rest."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from glow_tf import ConfigError, GlowConfig


def test_defaults_are_the_original_ones():
    assert GlowConfig(32).to_dict() == {
        "image_size": 32,
        "n_levels": 3,
        "depth": 32,
        "width": 512,
        "flow_permutation": "invconv",
        "flow_coupling": "additive",
        "learntop": False,
        "n_bits_x": 8,
        "n_y": 1,
        "ycond": False,
        "weight_y": 0.0,
        "lu_decomposed": False,
        "channels": 3,
    }


@pytest.mark.parametrize(("number", "name"), [(0, "reverse"), (1, "shuffle"), (2, "invconv")])
def test_permutations_by_number_and_name(number, name):
    assert GlowConfig(8, flow_permutation=number) == GlowConfig(8, flow_permutation=name)
    assert GlowConfig(8, flow_permutation=number).flow_permutation == name


@pytest.mark.parametrize(("number", "name"), [(0, "additive"), (1, "affine")])
def test_couplings_by_number_and_name(number, name):
    assert GlowConfig(8, flow_coupling=number) == GlowConfig(8, flow_coupling=name)
    assert GlowConfig(8, flow_coupling=number).flow_coupling == name


def test_shapes():
    config = GlowConfig((16, 8), n_levels=3, channels=1)
    assert config.image_shape == (16, 8, 1)
    assert config.dimensions == 128
    assert [config.level_shape(i) for i in range(3)] == [(8, 4, 4), (4, 2, 8), (2, 1, 16)]
    assert config.latent_shapes() == [(8, 4, 2), (4, 2, 4), (2, 1, 16)]
    assert sum(math.prod(shape) for shape in config.latent_shapes()) == config.dimensions


def test_square_size_has_one_spelling():
    assert GlowConfig((8, 8)) == GlowConfig.from_dict({"image_size": [8, 8]}) == GlowConfig(8)
    assert GlowConfig.from_dict({"image_size": [16, 8]}).image_size == (16, 8)


@pytest.mark.parametrize("bits", range(1, 9))
def test_bins(bits):
    assert GlowConfig(8, n_bits_x=bits).n_bins == 2**bits


def test_classifier_needs_both():
    assert GlowConfig(8, n_y=3, ycond=True, weight_y=0.1).has_classifier
    assert not GlowConfig(8, n_y=3, ycond=True).has_classifier
    assert not GlowConfig(8, n_y=3).has_classifier


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 0}, "image_size=0: must be at least 1"),
        ({"image_size": -8}, "image_size=-8: must be at least 1"),
        ({"image_size": 8.0}, r"image_size=8\.0: must be a whole number at least 1"),
        ({"image_size": "8"}, "image_size='8': must be a whole number"),
        ({"image_size": True}, "image_size=True: must be a whole number"),
        ({"image_size": (8, 8, 3)}, r"image_size=\(8, 8, 3\): must be one number or \(height, width\)"),
        ({"image_size": (8, 0)}, "image_size=0: must be at least 1"),
        ({"image_size": 12, "n_levels": 3}, r"divisible by 2\*\*n_levels = 8; 12 allows n_levels of at most 2"),
        ({"image_size": (16, 28), "n_levels": 3}, "28 allows n_levels of at most 2"),
        ({"image_size": 7, "n_levels": 1}, "7 allows n_levels of at most 0"),
        ({"n_levels": 0}, "n_levels=0: must be from 1 to 16"),
        ({"n_levels": 17}, "n_levels=17: must be from 1 to 16"),
        ({"n_levels": None}, "n_levels=None: must be a whole number from 1 to 16"),
        ({"depth": 0}, "depth=0: must be at least 1"),
        ({"depth": 2.5}, r"depth=2\.5: must be a whole number"),
        ({"width": 0}, "width=0: must be at least 1"),
        ({"n_y": 0}, "n_y=0: must be at least 1"),
        ({"channels": 0}, "channels=0: must be at least 1"),
        ({"channels": False}, "channels=False: must be a whole number"),
        ({"n_bits_x": 0}, "n_bits_x=0: must be from 1 to 8"),
        ({"n_bits_x": 9}, "n_bits_x=9: must be from 1 to 8"),
        (
            {"flow_permutation": 3},
            "flow_permutation=3: allowed are 0 or 'reverse', 1 or 'shuffle', 2 or 'invconv'",
        ),
        ({"flow_permutation": -1}, "flow_permutation=-1: allowed are"),
        ({"flow_permutation": "swap"}, "flow_permutation='swap': allowed are"),
        ({"flow_permutation": True}, "flow_permutation=True: allowed are"),
        ({"flow_coupling": 2}, "flow_coupling=2: allowed are 0 or 'additive', 1 or 'affine'"),
        ({"flow_coupling": None}, "flow_coupling=None: allowed are"),
        ({"learntop": 1}, "learntop=1: must be true or false"),
        ({"ycond": "yes"}, "ycond='yes': must be true or false"),
        ({"lu_decomposed": 0}, "lu_decomposed=0: must be true or false"),
        ({"weight_y": "much"}, "weight_y='much': must be a number"),
        ({"weight_y": True}, "weight_y=True: must be a number"),
        ({"weight_y": -0.1, "ycond": True}, r"weight_y=-0\.1: must be a number, 0 or more"),
        ({"weight_y": math.nan, "ycond": True}, "weight_y=nan: must be a number, 0 or more"),
        ({"weight_y": math.inf, "ycond": True}, "weight_y=inf: must be a number, 0 or more"),
        ({"weight_y": 0.1}, r"weight_y=0\.1 needs ycond"),
        (
            {"lu_decomposed": True, "flow_permutation": 0},
            "lu_decomposed needs flow_permutation 'invconv', not 'reverse'",
        ),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        GlowConfig(**{"image_size": 8, **fields})
    with pytest.raises(ValueError):
        GlowConfig.from_dict({"image_size": 8, **fields})


def test_a_configuration_cannot_be_changed():
    config = GlowConfig(8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.depth = 3  # type: ignore[misc]
    assert hash(config) == hash(GlowConfig(8))


def test_json_both_ways(tmp_path):
    config = GlowConfig((16, 8), depth=3, flow_coupling=1, n_y=10, ycond=True, weight_y=0.5, channels=4)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert GlowConfig.from_json(path) == config
    assert GlowConfig.from_json(str(path)) == config
    assert GlowConfig.from_dict(config.to_dict()) == config


def test_unknown_and_missing_fields():
    with pytest.raises(
        ConfigError, match="unknown field 'hight', 'wide': known are channels, context, context_channels, depth"
    ):
        GlowConfig.from_dict({"image_size": 8, "wide": 3, "hight": 4})
    with pytest.raises(ConfigError, match="image_size is missing"):
        GlowConfig.from_dict({"depth": 3})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a JSON file"),
        ("{", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ("[8]", "must hold a JSON object"),
        ("8", "must hold a JSON object"),
        ('{"image_size": 8, "depht": 3}', "unknown field 'depht'"),
        ('{"image_size": 7}', "7 allows n_levels of at most 0"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        GlowConfig.from_json(path)
    assert str(path) in str(raised.value)


def test_binary_file_is_no_configuration(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="not a JSON file"):
        GlowConfig.from_json(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        GlowConfig.from_json(tmp_path / "config.json")
