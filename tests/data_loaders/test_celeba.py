"""CelebA as it is published: images and lists in one folder, or in Img, Anno and Eval."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

import data_loaders
from data_loaders import DataError
from data_loaders.folder.images import centre_box
from data_loaders.tfrecords.celeba import ATTRIBUTES

pytestmark = pytest.mark.filterwarnings("ignore:Only .* images", "ignore:The .* for validation")
N = 20
PARTS = [0] * 14 + [1] * 3 + [2] * 3


def write_lists(attributes, partition, names, table, parts):
    """The two lists, in the published form."""
    lines = [str(len(names)), " ".join(ATTRIBUTES) + " "]
    lines += [f"{n}  " + " ".join(f"{v:2}" for v in row) for n, row in zip(names, table, strict=True)]
    attributes.write_text("\n".join(lines) + "\n")
    partition.write_text("".join(f"{n} {part}\n" for n, part in zip(names, parts, strict=True)))


@pytest.fixture(params=["flat", "drive"])
def published(request, tmp_path, rng):
    """(folder, names, table) of a small CelebA of random images of its size."""
    root = tmp_path / "celeba"
    places = {"flat": ("", "", ""), "drive": ("Img", "Anno", "Eval")}[request.param]
    images, anno, evaluation = (root / place for place in places)
    for folder in (images / "img_align_celeba", anno, evaluation):
        folder.mkdir(parents=True, exist_ok=True)
    names = [f"{i:06}.jpg" for i in range(1, N + 1)]
    for name in names:
        pixels = rng.integers(0, 256, (109, 89, 3), np.uint8).repeat(2, 0).repeat(2, 1)
        Image.fromarray(pixels).save(images / "img_align_celeba" / name)
    table = rng.choice([-1, 1], (N, 40))
    write_lists(anno / "list_attr_celeba.txt", evaluation / "list_eval_partition.txt", names, table, PARTS)
    return root, names, table


def load(root, **options):
    return data_loaders.load("folder", data_dir=str(root), **{"image_size": 32, **options})


def test_attributes_and_official_split(published):
    root, names, table = published
    with pytest.warns(UserWarning, match=r"3 images that .*list_eval_partition.txt has for validation"):
        data = load(root)
    assert (data.n_train, data.n_test, data.attributes) == (14, 3, ATTRIBUTES)
    last = {split: [name.rpartition("/")[2] for name in data.file_names(split)] for split in ("train", "test")}
    assert last == {"train": names[:14], "test": names[17:]}
    np.testing.assert_array_equal(data.attribute_values("train"), table[:14])
    np.testing.assert_array_equal(data.attribute_values("test"), table[17:])
    smiling = load(root, label_attribute="Smiling").labels("train")
    assert smiling.tolist() == (table[:14, ATTRIBUTES.index("Smiling")] > 0).tolist()


def test_the_folder_of_the_images_will_do(published):
    root, names, _ = published
    (folder,) = root.rglob("img_align_celeba")
    data = load(folder)
    assert data.file_names("train") == tuple(names[:14]) and data.attributes == ATTRIBUTES


@pytest.mark.parametrize(("crop", "box"), [(148, (15, 35, 163, 183)), (160, (9, 29, 169, 189)), (0, (0, 20, 178, 198))])
def test_the_usual_crops(published, crop, box):
    root, _, _ = published
    assert centre_box((218, 178), (32, 32), crop) == box
    data = load(root, crop=crop)
    (folder,) = root.rglob("img_align_celeba")
    picture = np.asarray(Image.open(folder / data.file_names("train")[0].rpartition("/")[2]), float)
    left, top, right, bottom = box
    got = next(data.batches_in_order("train", 1).as_numpy_iterator())[0][0]
    assert abs(got.mean() - picture[top:bottom, left:right].mean()) < 1
    if crop == 160:
        cells = picture[top:bottom, left:right].reshape(32, 5, 32, 5, 3).mean(axis=(1, 3))
        assert np.abs(got - cells).max() < 0.5 + 1 / 25  # means are whole 25ths, which Pillow rounds by a reciprocal


def test_the_crop_is_the_size_where_none_is_given(published):
    root, _, _ = published
    assert load(root, crop=148, image_size=-1).image_shape == (148, 148, 3)
    with pytest.raises(DataError, match="is 218x178, smaller than the crop of 200x200"):
        load(root, crop=200)
    with pytest.raises(DataError, match="crop must be"):
        load(root, crop=-1)


def test_other_folders_have_no_use_for_the_lists(published, write_images):
    root, _, _ = published
    other = root / "pictures"
    other.mkdir()
    for i in range(4):
        Image.new("RGB", (40, 40)).save(other / f"{i}.png")
    assert load(other).attributes is None


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("list_attr_celeba.txt", "20\n", "21\n", r"list_attr_celeba.txt: the first line says 21 images; 20 follow"),
        ("list_attr_celeba.txt", "20\n", "many\n", "the first line must be the number of images; it is 'many'"),
        ("list_attr_celeba.txt", "000003.jpg", "000099.jpg", r"no row for 1 of 14 images:\n  .*000003.jpg"),
        ("list_attr_celeba.txt", "000003.jpg", "000002.jpg", "line 5: a second row for 000002.jpg"),
        ("list_attr_celeba.txt", " Young", "", r"line 3: 41 fields; the header has 40"),
        ("list_attr_celeba.txt", "000001.jpg  ", "000001.jpg x", r"line 3: (value|\d+ fields)"),
        ("list_eval_partition.txt", "000003.jpg 0", "000099.jpg 0", r"does not have 1 of 20 images:\n  .*000003.jpg"),
        ("list_eval_partition.txt", "000003.jpg 0", "000003.jpg 4", "line 3: '000003.jpg 4'; expected a file name and"),
        ("list_eval_partition.txt", "000003.jpg 0", "000003.jpg", "line 3: '000003.jpg'; expected a file name and"),
    ],
)
def test_lists_that_do_not_fit(published, file, old, new, message):
    root, _, _ = published
    (path,) = root.rglob(file)
    change(path, old, new)
    with pytest.raises(DataError, match=message):
        load(root)


def test_a_part_of_the_images(published):
    """Those for validation are for testing where there are no others; without any, nothing goes."""
    root, names, _ = published
    (folder,) = root.rglob("img_align_celeba")
    for name in names[17:]:
        (folder / name).unlink()
    data = load(root)
    assert [name.rpartition("/")[2] for name in data.file_names("test")] == names[14:17]
    for name in names[14:17]:
        (folder / name).unlink()
    with pytest.raises(DataError, match="of the 14 images here, 14 are for training, 0 for tests"):
        load(root)


def test_the_real_faces_in_the_published_form(shared_data, tmp_path):
    """The faces of ../shared with their attributes, laid out as CelebA is."""
    faces = shared_data / "faces"
    with open(faces / "attributes.csv", newline="") as file:
        rows = list(csv.reader(file))[1:401]
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    for row in rows:
        (folder / row[0]).symlink_to(faces / "images" / row[0])
    names, table = [row[0] for row in rows], [[int(v) for v in row[1:]] for row in rows]
    parts = [0] * 300 + [1] * 50 + [2] * 50
    write_lists(folder.parent / "list_attr_celeba.txt", folder.parent / "list_eval_partition.txt", names, table, parts)
    published = load(folder.parent)
    assert (published.n_train, published.n_test) == (300, 50)
    plain = data_loaders.load("folder", data_dir=str(folder), attributes_file=str(faces / "attributes.csv"))
    np.testing.assert_array_equal(published.attribute_values("test"), np.asarray(table[350:]))
    assert plain.attributes == published.attributes == ATTRIBUTES


def test_the_flag_reaches_the_data(published):
    from glow_tf.training.config import TrainConfig
    from glow_tf.training.setup import load_data

    root, _, _ = published
    config = TrainConfig(problem="folder", image_dir=str(root), crop=148)
    np.testing.assert_array_equal(
        load_data(config, 32).init_batch(4, seed=0)[0], load(root, crop=148).init_batch(4, seed=0)[0]
    )
    with pytest.raises(DataError, match="'digits' has no option 'crop'"):
        load_data(TrainConfig(problem="digits", crop=4), -1)
