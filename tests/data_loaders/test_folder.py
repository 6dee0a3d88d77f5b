from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import data_loaders
from data_loaders.folder import scan
from data_loaders.folder.attributes import read_attributes

pytestmark = pytest.mark.filterwarnings("ignore:Only .* images")
NAMES = [f"{i:02}.png" for i in range(30)]


def load(root, **options):
    return data_loaders.load("folder", data_dir=str(root), **options)


def everything(data, split):
    return next(data.batches_in_order(split, 1000).as_numpy_iterator())


def test_every_image_once_under_its_name(write_images):
    root = write_images(NAMES)
    data = load(root)
    assert data.n_train + data.n_test == 30 and data.n_test >= 1
    assert (data.image_shape, data.n_y, data.class_names) == ((8, 8, 3), 1, None)
    for split in ("train", "test"):
        x, y = everything(data, split)
        for image, name in zip(x, data.file_names(split), strict=True):
            np.testing.assert_array_equal(image, np.asarray(Image.open(root / name)))
        assert not y.any()
    assert set(data.file_names("train")) | set(data.file_names("test")) == set(NAMES)


def test_streaming_gives_the_same(write_images):
    root = write_images(NAMES)
    memory, stream = load(root), load(root, memory_mb=0, workers=3)
    for a, b in zip(memory.train_batches(7).take(6), stream.train_batches(7).take(6), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


def test_levels(write_images):
    root = write_images(NAMES)
    images = [load(root, dal=dal).init_batch(30)[0] for dal in (0, 1, 2)]
    np.testing.assert_array_equal(images[0], images[1])
    flipped = np.any(images[0] != images[2], axis=(1, 2, 3))
    assert 5 < flipped.sum() < 25
    np.testing.assert_array_equal(images[2][flipped], images[0][flipped][:, :, ::-1])


def test_the_split_is_fixed_and_new_files_move_none(write_images):
    before = load(write_images(NAMES), test_fraction=0.3)
    more = [f"more/{i}.png" for i in range(20)]
    after = load(write_images(NAMES + more), test_fraction=0.3)
    for split in ("train", "test"):
        assert set(before.file_names(split)) == set(after.file_names(split)) & set(NAMES)
    assert before.file_names("test")[:3] == ("00.png", "01.png", "02.png")


def test_the_fraction_is_about_kept():
    names = [f"{i}.png" for i in range(5000)]
    _, test, how = scan.split_files(names, 0.1)
    assert how == "hash" and 420 < len(test) < 580


@pytest.mark.parametrize("n", range(1, 12))
def test_no_part_is_ever_empty(n):
    for fraction in (0.001, 0.5, 0.999):
        names = [f"image {i}.png" for i in range(n)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train, test, _ = scan.split_files(names, fraction)
        assert train and test
        assert n == 1 or sorted(train + test) == sorted(names)


def test_one_image_is_enough(write_images):
    with pytest.warns(UserWarning, match="one image only"):
        data = load(write_images(["a.png"]))
    assert (data.n_train, data.n_test) == (1, 1)
    x, _ = next(data.train_batches(4).as_numpy_iterator())
    assert x.shape == (4, 8, 8, 3)


def test_few_images_are_warned_of(write_images):
    with pytest.warns(UserWarning, match="Only 30 images"):
        load(write_images(NAMES))


def test_sub_folders_are_labels(write_images):
    root = write_images([f"in/{kind}/deep/{i}.png" for kind in ("dog", "cat") for i in range(15)])
    data = load(root)
    assert (data.n_y, data.class_names) == (2, ("cat", "dog"))
    for split in ("train", "test"):
        expected = [int("dog" in name) for name in data.file_names(split)]
        assert data.labels(split).tolist() == expected == everything(data, split)[1].tolist()
    assert load(root, labels="none").n_y == 1


def test_files_beside_sub_folders_mean_no_labels(write_images):
    root = write_images(["x.png", "cat/1.png", "dog/1.png"])
    assert load(root).n_y == 1
    with pytest.raises(data_loaders.DataError, match="do not lie in two or more sub-folders"):
        load(root, labels="folders")


@pytest.mark.parametrize("test_folder", scan.TEST_FOLDERS)
def test_train_and_test_folders(write_images, test_folder):
    names = [f"train/{k}/{i}.png" for k in "ab" for i in range(4)]
    root = write_images([*names, f"{test_folder}/b/1.png", "elsewhere/1.png"])
    with pytest.warns(UserWarning, match="1 images outside them"):
        data = load(root)
    assert data.file_names("train") == tuple(names)
    assert data.file_names("test") == (f"{test_folder}/b/1.png",)
    assert data.class_names == ("a", "b")
    assert data.labels("test").tolist() == [1]


def test_category_is_a_sub_folder(write_images):
    root = write_images(["cat/1.png", "cat/2.png", "dog/1.png"])
    assert load(root, category="cat").file_names("train") != load(root).file_names("train")
    with pytest.raises(data_loaders.DataError, match=r"no folder .*cow"):
        load(root, category="cow")


def test_gray_only_if_all_are(write_images):
    root = write_images(NAMES[:10], mode="L")
    assert load(root).image_shape == (8, 8, 1)
    write_images(["z.png"])
    assert load(root).image_shape == (8, 8, 3)


def test_sizes(write_images):
    root = write_images(NAMES[:10], size=(12, 8))
    assert load(root).image_shape == (12, 8, 3)
    assert load(root, image_size=4).image_shape == (4, 4, 3)
    assert load(root, image_size=(6, 2)).image_shape == (6, 2, 3)
    write_images(["z.png"], size=(9, 20))
    with pytest.raises(data_loaders.DataError, match=r"2 sizes \(9x20, 12x8\): give image_size.*9.*8"):
        load(root)
    assert load(root, image_size=8).n_train + load(root, image_size=8).n_test == 11


def break_some(root):
    """Makes four of the files of NAMES unusable."""
    (root / "03.png").write_bytes((root / "03.png").read_bytes()[:60])
    (root / "05.png").write_bytes(b"not an image")
    Image.new("RGB", (8, 7)).save(root / "07.png")
    (root / "09.png").unlink()
    os.symlink(root / "nowhere.png", root / "09.png")
    return ("03.png", "05.png", "07.png", "09.png")


@pytest.mark.parametrize("memory_mb", [0, 10])
def test_all_bad_images_are_named_at_once(write_images, memory_mb):
    root = write_images(NAMES)
    bad = break_some(root)
    with pytest.raises(data_loaders.DataError, match="4 of 30 images") as error:
        load(root, image_size=8, memory_mb=memory_mb)
    message = str(error.value)
    assert all(name in message for name in bad) and "01.png" not in message
    assert "smaller than 8x8" in message and "is no PNG or JPEG" in message
    with pytest.warns(UserWarning, match="4 of 30 images"):
        data = load(root, image_size=8, memory_mb=memory_mb, bad_images="skip")
    names = data.file_names("train") + data.file_names("test")
    assert sorted(names) == [name for name in NAMES if name not in bad]
    for split in ("train", "test"):  # the others have their own pixels
        for image, name in zip(everything(data, split)[0], data.file_names(split), strict=True):
            np.testing.assert_array_equal(image, np.asarray(Image.open(root / name)))


def test_one_bad_image_is_one_line(write_images):
    root = write_images(["a.png", "b.png"])
    (root / "b.png").write_bytes(b"text")
    with pytest.raises(data_loaders.DataError) as error:
        load(root, image_size=8)
    assert str(error.value) == (
        f"1 of 2 images in {root}/ cannot be used: b.png is no PNG or JPEG image."
        " Remove it or choose a smaller image_size (or --skip_corrupt leaves it out)."
    )


def test_the_list_of_bad_images_is_bounded(tmp_path):
    for i in range(50):
        (tmp_path / f"{i}.png").write_bytes(b"")
    with pytest.raises(data_loaders.DataError, match=r"50 of 50[\s\S]*and 30 more") as error:
        load(tmp_path, bad_images="skip")  # nothing would be left
    assert len(str(error.value).splitlines()) < 25


def test_an_image_that_vanishes_is_named(write_images):
    root = write_images(NAMES)
    data = load(root, memory_mb=0, check="headers")
    name = data.file_names("train")[0]
    (root / name).unlink()
    with pytest.raises(tf.errors.OpError, match=f"{name} is no longer there"):
        list(data.batches_in_order("train", 5))


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(data_loaders.DataError, match="needs data_dir"):
        data_loaders.load("folder")
    with pytest.raises(data_loaders.DataError, match=r"no folder .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(data_loaders.DataError, match="no images"):
        load(tmp_path)
    (tmp_path / "a.webp").write_bytes(b"")
    (tmp_path / ".hidden.png").write_bytes(b"")
    with pytest.raises(data_loaders.DataError, match=r"no images .*1 \.webp, which are not read"):
        load(tmp_path)


def test_links_in_a_circle_and_pipes_do_no_harm(write_images):
    root = write_images(NAMES)
    os.symlink(root, root / "again")
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "pipe.png")
    data = load(root)
    assert data.n_train + data.n_test == 30


def test_odd_names(write_images):
    names = ["with space.png", "ünï.PNG", "new\nline.jpeg", os.fsdecode(b"\xff\xfe.png"), "a.b.jpg"]
    root = write_images([])
    root.mkdir()
    for name in names:
        Image.new("RGB", (4, 4)).save(root / name, "PNG")
    data = load(root)
    assert sorted(data.file_names("train") + data.file_names("test")) == sorted(names)
    (root / names[3]).write_bytes(b"")
    with pytest.raises(data_loaders.DataError, match="1 of 5") as error:
        load(root)
    str(error.value).encode("utf-8")  # can be shown and logged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "yes"}, "labels must be one of auto, folders, none"),
        ({"bad_images": "ignore"}, "bad_images must be one of"),
        ({"check": "none"}, "check must be one of"),
        ({"test_fraction": 0}, "test_fraction must be"),
        ({"test_fraction": 1}, "test_fraction must be"),
        ({"label_attribute": "Smiling"}, "no attribute 'Smiling'.*no attributes.csv"),
    ],
)
def test_wrong_options(write_images, options, message):
    with pytest.raises(data_loaders.DataError, match=message):
        load(write_images(NAMES[:3]), **options)


def write_csv(path, names, rng, values=(-1, 1)):
    table = rng.choice(values, (len(names), 3))
    lines = ["filename,Smiling,Male,Old"]
    lines += [",".join([name, *map(str, row)]) for name, row in zip(names, table, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return dict(zip(names, np.where(table > 0, 1, -1).tolist(), strict=True))


@pytest.mark.parametrize("place", ["inside", "beside", "option"])
@pytest.mark.parametrize("values", [(-1, 1), (0, 1)])
def test_attributes(write_images, tmp_path, rng, place, values):
    root = write_images(NAMES)
    path = {
        "inside": root / "attributes.csv",
        "beside": tmp_path / "attributes.csv",
        "option": tmp_path / "other.csv",
    }[place]
    table = write_csv(path, [*NAMES, "not there.png"], rng, values)
    option = {"attributes_file": str(path)} if place == "option" else {}
    data = load(root, **option)
    assert data.attributes == ("Smiling", "Male", "Old")
    assert data.n_y == 1
    for split in ("train", "test"):
        got = data.attribute_values(split)
        assert got.dtype == np.int8
        assert got.tolist() == [table[name] for name in data.file_names(split)]
    labelled = load(root, label_attribute="Male", **option)
    assert (labelled.n_y, labelled.class_names) == (2, ("not Male", "Male"))
    expected = [int(table[name][1] > 0) for name in labelled.file_names("train")]
    assert labelled.labels("train").tolist() == expected
    with pytest.raises(data_loaders.DataError, match="no attribute 'Bald'; there are: Smiling, Male"):
        load(root, label_attribute="Bald", **option)


def test_attributes_by_path(write_images, rng):
    names = ["a/1.png", "a/2.png", "b/1.png"]
    root = write_images(names)
    table = write_csv(root / "attributes.csv", names, rng)
    data = load(root)
    assert data.attribute_values("train").tolist() == [table[n] for n in data.file_names("train")]
    write_csv(root / "attributes.csv", ["1.png", "2.png"], rng)  # which 1.png?
    with pytest.raises(data_loaders.DataError, match=r"no row for \d of \d images:\n  [ab]/1\.png"):
        load(root)


def test_a_csv_beside_that_belongs_to_others_is_left_alone(write_images, tmp_path, rng):
    root = write_images(NAMES)
    write_csv(tmp_path / "attributes.csv", NAMES[1:], rng)
    assert load(root).attributes is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line"),
        ("filename\na.png\n", "first line"),
        ("filename,A,A\n", "first line"),
        ("filename,A,B\na.png,1\n", "line 2: 2 fields; the header has 3"),
        ("filename,A\na.png,1\nb.png,2\n", "line 3: value '2'"),
        ("filename,A\na.png,1\na.png,1\n", "line 3: a second row for a.png"),
        ("filename,A\na.png,1\nb.png,0\nc.png,-1\n", "mixes -1 and 0"),
        ('filename,A\n"a.png,1\n', "not a valid CSV"),
        ("filename,A\n" + "x" * 200_000 + ",1\n", "not a valid CSV"),
        ("filename,A\na.png,1" + "0" * 5000 + "\n", "line 2: value"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_malformed_csv(tmp_path, text, message):
    (tmp_path / "a.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(data_loaders.DataError, match=message):
        read_attributes(str(tmp_path / "a.csv"))


def test_the_real_faces(shared_data):
    folder = shared_data / "faces256"
    data = load(folder, image_size=32, label_attribute="Smiling")
    assert (data.image_shape, data.n_y, len(data.attributes or ())) == ((32, 32, 3), 2, 40)
    smiling = sum(int(data.labels(split).sum()) for split in ("train", "test"))
    assert (data.n_train + data.n_test, smiling) == (103, 57)
    name = data.file_names("train")[0]
    pixels = np.asarray(Image.open(folder / name), float).reshape(32, 8, 32, 8, 3).mean(axis=(1, 3))
    assert np.abs(everything(data, "train")[0][0] - pixels).max() <= 0.5
