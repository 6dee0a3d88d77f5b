"""TFRecords from every format, read back by the loader."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import lmdb
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import data_loaders
from data_loaders import DataError
from data_loaders.generate_tfr import arguments
from data_loaders.generate_tfr.pixels import halves, shorter_side, sides, square
from data_loaders.generate_tfr.run import generate

REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "data_loaders.generate_tfr"]


def make(*line, workers=1):
    generate(arguments.parse([*map(str, line), "--workers", str(workers)]))


def read(problem, out, size, split="train", **options):
    data = data_loaders.load(problem, data_dir=str(out), image_size=size, **options)
    x, y = next(data.batches_in_order(split, 10**6).as_numpy_iterator())
    return x, y, data.attribute_values(split)


def as_in_the_original(image, size):
    """Averages of 2x2 pixels, then rounding down, by the definition."""
    factor = image.shape[0] // size
    blocks = image.astype(np.float64).reshape(size, factor, size, factor, 3)
    return np.floor(blocks.mean(axis=(1, 3))).astype(np.uint8)


def by_content(images):
    return {image.tobytes() for image in images}


def png(image, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


# ---- Pixels ----------------------------------------------------------------------------------------------------------


def test_resolutions():
    assert sides(256, 4) == (256, 128, 64, 32, 16, 8, 4)
    assert sides(96, 4) == (96, 48, 24, 12, 6)
    assert sides(64, 64) == (64,)
    assert sides(4, 4) == (4,)


def test_halves_are_exact(rng):
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    for side, level in zip(sides(64, 4), halves(image.astype(np.float32), sides(64, 4)), strict=True):
        np.testing.assert_array_equal(level, as_in_the_original(image, side))


def test_the_centre_is_averaged(rng):
    image = rng.integers(0, 256, (23, 30, 3), np.uint8)
    got = square(image, 8, enlarge=False)
    whole = image[:, 3:26].astype(np.float64).repeat(8, 0).repeat(8, 1)  # 184 = 8 cells of 23
    np.testing.assert_allclose(got, whole.reshape(8, 23, 8, 23, 3).mean(axis=(1, 3)), atol=1e-3)
    flat = np.full((500, 375, 3), 255, np.uint8)
    assert (square(flat, 256, enlarge=False) == 255).all()
    with pytest.raises(DataError, match="is 23x30, smaller than 24x24"):
        square(image, 24, enlarge=False)
    assert square(image, 24, enlarge=True).shape == (24, 24, 3)
    assert shorter_side(np.zeros((341, 256, 3), np.uint8), 96).shape == (128, 96, 3)


# ---- Formats ---------------------------------------------------------------------------------------------------------


def test_folder(write_images, tmp_path):
    names = [f"{s}/{k}/{i}.png" for s in ("train", "val") for k in "abc" for i in range(4)]
    root = write_images(names, (16, 16))
    make("folder", root, tmp_path / "out", "--size", 16, "--shards", 5, 2)
    for size in (16, 8, 4):
        x, y, _ = read("imagenet", tmp_path / "out", size)
        files = {as_in_the_original(np.asarray(Image.open(root / n)), size).tobytes(): "abc".index(n.split("/")[1])
                 for n in names if n.startswith("train")}  # fmt: skip
        assert {image.tobytes(): label for image, label in zip(x, y.tolist(), strict=True)} == files
        assert len(read("imagenet", tmp_path / "out", size, "test")[0]) == 12
    assert sorted(os.listdir(tmp_path / "out/train"))[:2] == [
        "train-r02-of-0005.index.npz", "train-r02-s-0000-of-0005.tfrecords"]  # fmt: skip


def test_attributes(write_images, tmp_path, rng):
    names = [f"{i}.png" for i in range(20)]
    root = write_images(names, (12, 12))
    table = {name: rng.choice([-1, 1], 40).tolist() for name in names}
    header = ["filename", *(f"A{i}" for i in range(40))]
    lines = [",".join(header), *(",".join([name, *map(str, row)]) for name, row in table.items())]
    (root / "attributes.csv").write_text("\n".join(lines) + "\n")
    make("folder", root, tmp_path / "out", "--size", 12)
    x, _, values = read("celeba", tmp_path / "out", 12)
    by_pixels = {np.asarray(Image.open(root / name)).tobytes(): row for name, row in table.items()}
    assert values is not None and [by_pixels[image.tobytes()] for image in x] == values.tolist()


def write_lmdb(folder, images):
    with lmdb.open(str(folder), map_size=2**24) as database, database.begin(write=True) as transaction:
        for number, image in enumerate(images):
            transaction.put(f"{number:040x}".encode(), png(image, "WEBP", lossless=True))


def test_lsun(tmp_path, rng):
    images = [rng.integers(0, 256, (w, h, 3), np.uint8) for w, h in ((16, 24), (32, 16), (16, 16), (16, 20), (20, 16))]
    write_lmdb(tmp_path / "tower_train_lmdb", images[:4])
    write_lmdb(tmp_path / "tower_val_lmdb", images[4:])
    make("lsun", tmp_path, tmp_path / "lsun", "--category", "tower", "--size", 16, "--shards", 2, 1)
    got = by_content(read("lsun", tmp_path / "lsun", 16, category="tower")[0])
    assert images[0][:, 4:20].tobytes() in got and images[2].tobytes() in got and len(got) == 4
    assert read("lsun", tmp_path / "lsun", 4, "test", category="tower")[0].shape == (1, 4, 4, 3)
    make("lsun", tmp_path, tmp_path / "nvp", "--category", "tower", "--size", 12, "--realnvp")
    assert os.listdir(tmp_path / "nvp/tower/validation").count("validation-r03-s-0000-of-0001.tfrecords") == 1
    assert read("lsun_realnvp", tmp_path / "nvp", 8, category="tower")[0].shape == (4, 8, 8, 3)
    with pytest.raises(DataError, match=r"bedroom_train_lmdb/data.mdb"):
        make("lsun", tmp_path, tmp_path / "other", "--category", "bedroom")


def write_examples(path, examples):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            feature = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=value)) if isinstance(value, list)
                       else tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                       for name, value in example.items()}  # fmt: skip
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


@pytest.mark.parametrize("with_attributes", [False, True])
def test_celebahq(tmp_path, rng, with_attributes):
    images = rng.integers(0, 256, (9, 16, 16, 3), np.uint8)
    attributes = rng.choice([-1, 1], (9, 40)).tolist()
    source = tmp_path / "celebahq"
    source.mkdir()
    examples = [{"data": image.transpose(2, 0, 1).tobytes(), "shape": [3, 16, 16]} for image in images]
    if with_attributes:
        examples = [{**example, "attr": row} for example, row in zip(examples, attributes, strict=True)]
    write_examples(source / "celebahq-r04.tfrecords", examples)
    make("celebahq", source, tmp_path / "out", "--size", 16, "--validation", 3)
    for size in (16, 4):
        for split, part in (("test", slice(0, 3)), ("train", slice(3, 9))):
            x, y, values = read("celeba", tmp_path / "out", size, split)
            levels = {
                as_in_the_original(i, size).tobytes(): a for i, a in zip(images[part], attributes[part], strict=True)
            }
            assert by_content(x) == set(levels) and not y.any()
            if with_attributes:
                assert values is not None and [levels[image.tobytes()] for image in x] == values.tolist()
            else:
                assert values is None
    with pytest.raises(DataError, match=r"must hold one \*-r05.tfrecords.*celebahq-r04.tfrecords"):
        make("celebahq", source, tmp_path / "no", "--size", 32)
    with pytest.raises(DataError, match=r"--validation is 9, .* has 9 images: 1 to 8"):
        make("celebahq", source, tmp_path / "no", "--size", 16, "--validation", 9)


def test_imagenet(tmp_path, rng):
    images = [rng.integers(0, 256, (16, w, 3), np.uint8) for w in (16, 24, 16, 16, 16)]
    for split, numbers in (("train", [[0, 1], [2]]), ("validation", [[3, 4]])):
        for shard, part in enumerate(numbers):
            write_examples(
                tmp_path / f"{split}-{shard:05d}-of-{len(numbers):05d}",
                [{"image/encoded": png(images[n]), "image/class/label": [1000 - n]} for n in part],
            )
    make("imagenet", tmp_path, tmp_path / "out", "--size", 16)
    x, y, _ = read("imagenet", tmp_path / "out", 16)
    assert sorted(y.tolist()) == [997, 998, 999]
    np.testing.assert_array_equal(x[y.tolist().index(998)], images[1][:, 4:20])
    (tmp_path / "train-00001-of-00002").unlink()
    with pytest.raises(DataError, match=r"1 files .* missing:\n  train-00001-of-00002"):
        make("imagenet", tmp_path, tmp_path / "no")


@pytest.mark.parametrize("packed", [False, True])
def test_imagenet_oord(tmp_path, write_images, packed):
    names = [f"train_8x8/{i:07}.png" for i in range(6)] + ["valid_8x8/00001.png"]
    root = write_images(names)
    if packed:
        for folder in ("train_8x8", "valid_8x8"):
            with zipfile.ZipFile(tmp_path / f"{folder}.zip", "w") as archive:
                for name in names:
                    if name.startswith(folder):
                        archive.write(root / name, name)
    make("imagenet-oord", tmp_path if packed else root, tmp_path / "out", "--size", 8)
    expected = by_content(np.asarray(Image.open(root / name)) for name in names[:6])
    assert by_content(read("imagenet-oord", tmp_path / "out", 8)[0]) == expected
    assert not any("-r02-" in name for name in os.listdir(tmp_path / "out/train"))
    with pytest.raises(DataError, match=r"neither train_16x16 nor train_16x16.zip"):
        make("imagenet-oord", root, tmp_path / "no", "--size", 16)


# ---- Arguments, failures, resuming -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("jpeg . out", "invalid choice"),
        ("folder nowhere out --size 8", "there is no folder nowhere"),
        ("folder . out", "the format folder needs --size"),
        ("folder . out --size 3", "'3': a whole number of at least 4"),
        ("folder . out --size 8 --min_size 16", "--min_size 16 is above --size 8"),
        ("folder . out --size 8 --workers 0", "at least 1"),
        ("folder . out --size 8 --shards 3", "expected 2 arguments"),
        ("folder . out --size 8 --category tower", "--category and --realnvp are of the format lsun"),
        ("folder . out --size 8 --validation 5", "--validation is of the format celebahq"),
        ("lsun . out", "needs --category"),
        ("lsun . out --category a/b", "no name of a folder"),
        ("folder . file --size 8", "file is no folder"),
    ],
)
def test_wrong_arguments_are_one_line_before_any_work(line, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        arguments.parse(line.split())
    said = capsys.readouterr().err
    assert end.value.code == 2 and says in said and said.count("\n") == 1
    assert os.listdir(tmp_path) == ["file"]


def test_arguments_need_no_tensorflow():
    code = "import sys; from data_loaders.generate_tfr import arguments; arguments.make_parser().format_help()\n"
    subprocess.run([sys.executable, "-c", code + "assert 'tensorflow' not in sys.modules"], cwd=REPOSITORY, check=True)


def test_a_damaged_image_ends_it_or_is_left_out(write_images, tmp_path, capsys):
    root = write_images([f"{s}/{i}.png" for s in ("train", "val") for i in range(6)])
    (root / "train/3.png").write_bytes(b"no image")
    line = ("folder", root, tmp_path / "out", "--size", 8, "--shards", 3, 1)
    with pytest.raises(DataError, match=r"^train/3.png is no PNG or JPEG"):
        make(*line)
    make(*line, "--skip_corrupt")  # goes on with what is there
    assert "1 images were left out:\n  train/3.png is no PNG" in capsys.readouterr().out
    assert len(read("lsun", tmp_path / "out", 8)[0]) == 5


def test_what_is_there_is_kept_and_others_are_refused(write_images, tmp_path, capsys):
    root = write_images([f"{s}/{i}.png" for s in ("train", "val") for i in range(8)])
    out = tmp_path / "out"
    line = ("folder", root, out, "--size", 8, "--shards", 4, 1)
    make(*line)
    first = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*.tfrecords")}
    assert len(first) == 2 * 5
    lost = out / "train/train-r02-s-0002-of-0004.tfrecords"
    lost.unlink()
    (out / "train/.writing-train-r03-s-0001-of-0004.tfrecords").write_bytes(b"half")
    make(*line)
    assert "4 of 5 shards are there already" in capsys.readouterr().out
    again = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*.tfrecords")}
    assert {path: content for path, (content, _) in first.items()} == {path: c for path, (c, _) in again.items()}
    assert sum(first[path] != again[path] for path in first) == 2  # both resolutions of the one that was lost
    assert not list(out.rglob(".writing*"))
    for change, says in ((("--seed", 1), "seed is 0 there, 1 here"), (("--min_size", 8), r"resolutions is \[8, 4\]")):
        with pytest.raises(DataError, match=says):
            make(*line, *change)
    with pytest.raises(DataError, match="holds other shards, such as train-r02-s-0000"):
        make("folder", write_images(["train/1.png", "val/2.png"], (16, 16), folder="large"), out, "--size", 16)
    (out / ".generate_tfr-r03.json").write_text("[]]")
    with pytest.raises(DataError, match=r"generate_tfr-r03.json is damaged"):
        make(*line)
    with pytest.raises(DataError, match="8 train images, too few for 9 shards"):
        make("folder", root, tmp_path / "many", "--size", 8, "--shards", 9, 1)


@pytest.mark.slow
def test_killed_and_gone_on_with(write_images, tmp_path, capsys):
    """SIGKILL of a run with worker processes: nothing half is left, no process stays, and the same command goes on."""
    root = write_images([f"{s}/{i}.png" for s, n in (("train", 240), ("val", 4)) for i in range(n)], (96, 96))
    out = tmp_path / "out"
    line = [*COMMAND, "folder", str(root), str(out), "--size", "96", "--shards", "24", "1", "--workers", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(line, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while len(list(out.rglob("[tv]*.tfrecords"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = [int(pid) for pid in children(process.pid)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(workers) >= 2
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in workers)
    there = {path: path.stat().st_mtime_ns for path in out.rglob("[tv]*.tfrecords")}
    assert 10 <= len(there) < 25 * 5
    make(*line[3:-2])
    assert "shards are there already" in capsys.readouterr().out
    kept = [path for path, written in there.items() if path.stat().st_mtime_ns == written]
    assert len(kept) >= len(there) - 2 * 5  # but for shards that were being renamed
    x, _, _ = read("lsun", out, 96)
    assert by_content(x) == by_content(np.asarray(Image.open(path)) for path in (root / "train").iterdir())
    assert not list(out.rglob(".writing*"))
    settings = json.loads((out / ".generate_tfr-r06.json").read_text())
    assert settings["shards"] == {"train": 24, "validation": 1}


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
