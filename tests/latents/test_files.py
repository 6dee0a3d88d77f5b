"""Latents and directions on disk: what is written comes back, and hostile files are refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_loaders import DataError
from glow_tf.latents.files import Attributes, read_attributes, read_latents, write_attributes, write_latents

LATENTS = np.random.default_rng(0).standard_normal((5, 12)).astype(np.float32)
NAMES = ["a", "b/ü.png", "", "\n", "e" * 300]
FOUND = Attributes(("x", "y z"), LATENTS[:2], np.array([1, 2]), np.array([3, 4]), LATENTS[2], 1, "0123")


def write(path: Path, **changes) -> Path:
    """A file of latents with some arrays replaced; None takes one away."""
    arrays = {"latents": LATENTS, "names": np.array(NAMES), "label": np.array([2]), "model": np.array(["f"])}
    arrays.update(changes)
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_latents_come_back(tmp_path):
    path = tmp_path / "l.npz"
    write_latents(path, iter([LATENTS[:2], LATENTS[2:]]), NAMES, 12, 2, "f")
    held = read_latents(path, 12)
    np.testing.assert_array_equal(held.latents, LATENTS)
    assert held.names == tuple(NAMES)
    assert (held.label, held.model) == (2, "f")
    with np.load(path, allow_pickle=False) as plain:  # anybody's NumPy can read them
        np.testing.assert_array_equal(plain["latents"], LATENTS)


def test_attributes_come_back(tmp_path):
    write_attributes(tmp_path / "a.npz", FOUND)
    held = read_attributes(tmp_path / "a.npz", 12)
    assert held.names == FOUND.names
    np.testing.assert_array_equal(held.direction("y z"), LATENTS[1])
    for field in ("directions", "n_with", "n_without", "mean"):
        np.testing.assert_array_equal(getattr(held, field), getattr(FOUND, field))
    with pytest.raises(ValueError, match="no attribute 'q'; there are: x, y z"):
        held.direction("q")


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "l.npz"
    path.write_bytes(b"before")

    def batches():
        yield LATENTS[:2]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_latents(path, batches(), NAMES, 12, 0, "f")
    with pytest.raises(ValueError, match="2 latents for 5 names"):
        write_latents(path, [LATENTS[:2]], NAMES, 12, 0, "f")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"latents": LATENTS[:, :9]}, r"shape \[5, 9\]; expected \[n, 12\]"),
        ({"latents": LATENTS.astype(np.float64)}, "float64; expected float32"),
        ({"latents": np.full((5, 12), np.nan, np.float32)}, "not finite"),
        ({"names": np.array(NAMES[:3])}, "5 latents and 3 names"),
        ({"names": np.array(["n" * 5000] * 5)}, "expected str"),
        ({"names": np.arange(5)}, "expected str"),
        ({"label": None}, "no array 'label'"),
        ({"label": np.arange(2)}, "shape"),
    ],
)
def test_latents_of_another_form(tmp_path, changes, what):
    with pytest.raises(ValueError, match=what):
        read_latents(write(tmp_path / "l.npz", **changes), 12)


def test_pickles_are_not_read(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    path = write(tmp_path / "l.npz", names=np.array([Bomb()] * 5, dtype=object))
    with pytest.raises(DataError, match="object; expected str"):
        read_latents(path, 12)
    assert not (tmp_path / "ran").exists()


def test_a_header_that_claims_more_than_the_file_can_hold(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 12)})
        archive.writestr("latents.npy", header.getvalue() + bytes(48 * 10**5))
    with pytest.raises(DataError, match="expected"):
        read_latents(path, 12)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x05\x06" + bytes(18)])
@pytest.mark.parametrize("read", [read_latents, read_attributes])
def test_no_archive(tmp_path, content, read):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npz"):
        read(tmp_path / "x.npz", 12)
    with pytest.raises(DataError, match=r"none\.npz"):
        read(tmp_path / "none.npz", 12)


def test_attributes_of_different_lengths(tmp_path):
    arrays = {"names": np.array(["x"]), "directions": LATENTS[:2], "n_with": np.arange(2), "n_without": np.arange(2)}
    arrays |= {"mean": LATENTS[0], "label": np.array([0]), "model": np.array(["f"])}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match="different lengths"):
        read_attributes(tmp_path / "a.npz", 12)
    np.savez(tmp_path / "a.npz", **{**arrays, "names": np.array(["x", "y"]), "mean": LATENTS[0, :5]})
    with pytest.raises(ValueError, match="'mean' has 5 numbers; expected 12"):
        read_attributes(tmp_path / "a.npz", 12)


def test_characters_that_do_not_exist_are_refused(tmp_path):
    """NumPy keeps them, and Python fails in the middle of making a string of them."""
    path = tmp_path / "latents.npz"
    names = np.full([1], 0x110000, np.uint32).view("U1")
    np.savez(path, latents=np.ones((1, 4), np.float32), names=names, label=np.array([0]), model=np.array(["m"]))
    with pytest.raises(DataError, match="'names' has characters that do not exist"):
        read_latents(path, 4)
