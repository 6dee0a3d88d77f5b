"""Pictures of many images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from glow_tf import images

TILES = np.arange(5 * 2 * 3 * 3, dtype=np.uint8).reshape(5, 2, 3, 3)


def test_raster_places_images_row_by_row():
    raster = images.to_raster(TILES)
    assert raster.shape == (4, 9, 3)
    np.testing.assert_array_equal(raster[:2, 3:6], TILES[1])
    np.testing.assert_array_equal(raster[2:, :3], TILES[3])
    assert not raster[2:, 6:].any()  # the last row is filled up
    gaps = images.to_raster(TILES, columns=5, gap=1)
    assert gaps.shape == (2, 19, 3)
    np.testing.assert_array_equal(gaps[:, 4:7], TILES[1])
    assert not gaps[:, 3].any()
    np.testing.assert_array_equal(images.strip(TILES), np.concatenate(TILES, axis=1))


def test_enlargement_repeats_pixels():
    picture = images.enlarge(TILES[0], 3)
    assert picture.shape == (6, 9, 3)
    np.testing.assert_array_equal(picture[::3, ::3], TILES[0])
    assert (picture[:3, :3] == TILES[0, 0, 0]).all()
    assert [images.enlargement_for(s, s) for s in (1, 8, 28, 32, 256)] == [32, 4, 1, 1, 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_and_gif(tmp_path, channels):
    tiles = TILES[..., :channels]
    images.save_raster(tiles, tmp_path / "a.png", columns=2, times=2)
    stored = np.asarray(Image.open(tmp_path / "a.png"))
    wanted = images.enlarge(images.to_raster(tiles, 2), 2)
    np.testing.assert_array_equal(stored.reshape(wanted.shape), wanted)
    images.save_gif(tiles, tmp_path / "a.gif", times=4, seconds=0.2)
    with Image.open(tmp_path / "a.gif") as animation:
        assert getattr(animation, "n_frames", 1) == 5 and animation.size == (12, 8)
        assert animation.info["duration"] == 200


@pytest.mark.parametrize(
    "wrong", [TILES[0], TILES.astype(np.float32), TILES[..., :2], TILES[:0]], ids=["rank", "type", "channels", "none"]
)
def test_what_is_no_batch_of_images_is_refused(wrong):
    with pytest.raises(ValueError, match="images"):
        images.to_raster(wrong)


def test_other_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="columns"):
        images.to_raster(TILES, columns=0)
    with pytest.raises(ValueError, match="times"):
        images.enlarge(TILES[0], 0)
    with pytest.raises(ValueError, match="seconds"):
        images.save_gif(TILES, tmp_path / "x.gif", seconds=0)
