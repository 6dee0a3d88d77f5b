"""tfds:NAME, with data sets that the tfds command line tool builds here, without network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import data_loaders
from data_loaders import DataError
from tests.forked import Forked

pytest.importorskip("tensorflow_datasets")

# The command `tfds build`; what is installed as `tfds` imports Apache Beam for its other commands.
TFDS_BUILD = """
import sys, simple_parsing
from tensorflow_datasets.scripts.cli import build
simple_parsing.parse(build.Args, args=sys.argv[1:]).execute()
"""
BUILDER = """
import numpy as np
import tensorflow_datasets as tfds

class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"image": tfds.features.Image(shape=(None, None, 3)), "mask": tfds.features.Image(shape=(8, 8, 1)),
                    "label": tfds.features.ClassLabel(names=["cat", "dog", "owl"])}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples(40, 0), "test": self._generate_examples(10, 1)}

    def _generate_examples(self, count, seed):
        rng = np.random.default_rng(seed)
        for i in range(count):
            image = rng.integers(0, 256, (8, 8 + i % 2, 3), np.uint8)
            yield i, {"image": image, "mask": image[:, :8, :1], "label": i % 3}
"""
NUMBERS = """
import numpy as np
import tensorflow_datasets as tfds

class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"x": tfds.features.Scalar(np.int64)})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"x": 1}
"""


def build(folder: Path, name: str, code: str, data_dir: Path, *options: str) -> None:
    """Runs `tfds build` in the folder of a builder."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    (folder / name / f"{name}_dataset_builder.py").write_text(code)
    script = folder / "tfds_build.py"
    script.write_text(TFDS_BUILD)
    environment = {"CUDA_VISIBLE_DEVICES": "", "HOME": str(folder)}
    process = Forked(str(script), "--data_dir", str(data_dir), *options, environment=environment, folder=folder / name)
    said, _ = process.communicate(300)
    assert process.returncode == 0, said[-3000:]


@pytest.fixture(scope="module", params=["tfrecord", "array_record"])
def prepared(request, tmp_path_factory):
    """A data_dir with `shapes` in one of the formats, and `numbers`, which has no images."""
    folder = tmp_path_factory.mktemp("tfds")
    build(folder, "shapes", BUILDER, folder / "data", "--file_format", request.param)
    if request.param == "tfrecord":
        build(folder, "numbers", NUMBERS, folder / "data")
    return folder / "data"


def load(prepared, problem="tfds:shapes", **options):
    return data_loaders.load(problem, data_dir=str(prepared), **{"image_size": 8, **options})


def expected(prepared, split):
    """Image and label of every record, as tensorflow_datasets reads them."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(prepared / "shapes" / "1.0.0")
    rows = (
        builder.as_data_source(split)
        if "array" in str(builder.info.file_format).lower()
        else tfds.as_numpy(builder.as_dataset(split, shuffle_files=False))
    )
    return [(row["image"][:, :8], int(row["label"])) for row in rows]


def everything(data, split):
    return next(data.batches_in_order(split, 1000).as_numpy_iterator())


def test_images_labels_and_splits(prepared):
    data = load(prepared)
    assert (data.n_train, data.n_test, data.image_shape) == (40, 10, (8, 8, 3))
    assert (data.n_y, data.class_names) == (3, ("cat", "dog", "owl"))
    for split in ("train", "test"):
        x, y = everything(data, split)
        wanted = expected(prepared, split)
        assert y.tolist() == data.labels(split).tolist() == [label for _, label in wanted]
        np.testing.assert_array_equal(x, [image for image, _ in wanted])


def test_a_run_resumes_exactly(prepared):
    whole = list(load(prepared, seed=5).train_batches(7).take(9).as_numpy_iterator())
    for memory_mb in (0, 1024):
        rest = load(prepared, memory_mb=memory_mb).train_batches(7, seed=5, start=6).take(3).as_numpy_iterator()
        for (x, y), (x2, y2) in zip(whole[6:], rest, strict=True):
            np.testing.assert_array_equal(x, x2)
            np.testing.assert_array_equal(y, y2)


def test_versions_and_sizes(prepared):
    assert load(prepared, "tfds:shapes:1.0.0", image_size=4).image_shape == (4, 4, 3)
    assert load(prepared, crop=6, image_size=-1).image_shape == (6, 6, 3)
    with pytest.raises(DataError, match="images of several sizes: give image_size"):
        load(prepared, image_size=-1)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("tfds", "expected tfds:NAME, such as tfds:mnist"),
        ("tfds:", "expected tfds:NAME"),
        ("tfds:../shapes", "expected tfds:NAME"),
        ("tfds:shapes:2", "expected tfds:NAME"),
        ("tfds:shapes:2.0.0", r"tfds:shapes:2.0.0 is not prepared in .*; there are: .*shapes:1\.0\.0"),
        ("tfds:nothing", r"tfds:nothing is not prepared in .*; there are: .*shapes:1\.0\.0"),
    ],
)
def test_what_is_not_there(prepared, problem, message):
    with pytest.raises(DataError, match=message) as error:
        load(prepared, problem)
    assert len(str(error.value).splitlines()) == 1


def test_a_data_set_without_images(prepared):
    if not (prepared / "numbers").is_dir():
        pytest.skip("built once")
    with pytest.raises(DataError, match=r"^tfds:numbers has no images; its features: x\.$"):
        load(prepared, "tfds:numbers")


def copy_of(prepared, tmp_path):
    folder = tmp_path / "copy" / "shapes" / "1.0.0"
    folder.mkdir(parents=True)
    for path in (prepared / "shapes" / "1.0.0").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_damaged_description(prepared, tmp_path):
    folder = copy_of(prepared, tmp_path)
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match="is no data set of tensorflow_datasets"):
        load(tmp_path / "copy")


def test_damaged_records(prepared, tmp_path):
    folder = copy_of(prepared, tmp_path)
    path = next(folder.glob("*train.tfrecord*"), None)
    if path is None:
        pytest.skip("the checksums of array_record are its own")
    data = bytearray(path.read_bytes())
    data[40] ^= 255  # in the first record
    path.write_bytes(data)
    damaged = load(tmp_path / "copy")
    with pytest.raises(DataError, match=r"tfds:shapes, record 0 of train .*checksum.*--skip_corrupt"):
        with data_loaders.as_data_errors():
            everything(damaged, "train")
    skipping = load(tmp_path / "copy", skip_corrupt=True)
    with pytest.warns(UserWarning, match="skipped: tfds:shapes, record 0"):
        x, y = everything(skipping, "train")
    np.testing.assert_array_equal(x[0], x[1])
    assert y[0] == y[1] and skipping.skipped == 1


def test_more_records_than_described(prepared, tmp_path):
    folder = copy_of(prepared, tmp_path)
    if not list(folder.glob("*.tfrecord*")):
        pytest.skip("array_record counts for itself")
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = ["3"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"records of \w+; dataset_info.json says 3"):
        load(tmp_path / "copy")


def test_without_tensorflow_datasets(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match="pip install tensorflow-datasets"):
        load(prepared)
