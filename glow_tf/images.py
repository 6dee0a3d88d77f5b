"""Pictures of many images: rasters, strips and GIFs. Pillow is imported when a file is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_loaders.atomic import atomic_write


def _checked(images: Any) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype}; uint8 is needed")
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"images have shape {images.shape}; [N, H, W, 1 or 3] is needed")
    return images


def to_raster(images: Any, columns: int | None = None, gap: int = 0) -> np.ndarray:
    """One picture of many, row by row.

    Args:
      images: uint8 [N, H, W, C], C 1 or 3.
      columns: images in a row; default ceil(sqrt(N)), as OpenAI's code. An incomplete last row is
        filled with black (OpenAI's code drops it).
      gap: black pixels between images.

    Returns:
      uint8 [rows * (H + gap) - gap, columns * (W + gap) - gap, C].

    Raises:
      ValueError: for another shape or type, or fewer than 1 column.
    """
    images = _checked(images)
    n, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    if columns < 1 or gap < 0:
        raise ValueError(f"columns is {columns} and gap {gap}; at least 1 and 0 are needed")
    rows = math.ceil(n / columns)
    tiles = np.zeros([rows * columns, height + gap, width + gap, channels], np.uint8)
    tiles[:n, :height, :width] = images
    tiles = tiles.reshape(rows, columns, height + gap, width + gap, channels).swapaxes(1, 2)
    picture = tiles.reshape(rows * (height + gap), columns * (width + gap), channels)
    return picture[: picture.shape[0] - gap, : picture.shape[1] - gap]


def strip(images: Any, gap: int = 0) -> np.ndarray:
    """All images in one row: uint8 [H, N * (W + gap) - gap, C]. Arguments as `to_raster`."""
    return to_raster(images, columns=len(images), gap=gap)


def enlarge(picture: np.ndarray, times: int) -> np.ndarray:
    """Every pixel [H, W, C] becomes times x times pixels; no interpolation."""
    if times < 1:
        raise ValueError(f"times is {times}; at least 1 is needed")
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def enlargement_for(height: int, width: int, wanted: int = 32) -> int:
    """Whole number that brings tiny images to about `wanted` pixels: 4 for 8x8, 1 from 32x32 on."""
    return max(1, wanted // max(height, width))


def to_pillow(picture: np.ndarray) -> Any:
    """A picture uint8 [H, W, 1 or 3] as Pillow has it."""
    from PIL import Image

    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


def save_image(picture: np.ndarray, path: str | Path) -> None:
    """Writes one picture uint8 [H, W, 1 or 3], whole or not at all; the path's ending says how (.png)."""
    with atomic_write(path) as temporary:
        to_pillow(_checked(picture[np.newaxis])[0]).save(temporary)


def save_raster(images: Any, path: str | Path, columns: int | None = None, times: int = 1, gap: int = 0) -> None:
    """Writes `to_raster(images, columns, gap)`, each pixel enlarged `times` times."""
    save_image(enlarge(to_raster(images, columns, gap), times), path)


def save_gif(
    frames: Sequence[np.ndarray] | np.ndarray,
    path: str | Path,
    *,
    seconds: float = 0.1,
    times: int = 1,
    forever: bool = True,
) -> None:
    """Writes an animation, whole or not at all.

    Args:
      frames: uint8 [N, H, W, 1 or 3].
      path: where to.
      seconds: how long a frame stays.
      times: enlargement of every pixel.
      forever: start again at the end.

    Raises:
      ValueError: for another shape or type, or no time for a frame.
    """
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds}; it must be above 0")
    first, *rest = [to_pillow(enlarge(frame, times)) for frame in _checked(frames)]
    loop = {"loop": 0} if forever else {}
    with atomic_write(path) as temporary:
        first.save(temporary, "GIF", save_all=True, append_images=rest, duration=round(1000 * seconds), **loop)
