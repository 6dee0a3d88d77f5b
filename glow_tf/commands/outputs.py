"""Pictures that come out: grids, rows of images, and GIFs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glow_tf import images
from glow_tf.commands.arguments import CommandError

MAX_PIXELS = 2**28  # of a picture that comes out


def check_pixels(n: int, height: int, width: int, scale: int) -> None:
    """Raises CommandError if a picture of n images, enlarged `scale` times, would be too large."""
    if n * height * width * scale**2 > MAX_PIXELS:
        raise CommandError(
            f"a picture of {n} images of {height}x{width}, enlarged {scale} times, has more than {MAX_PIXELS} pixels;"
            " ask for fewer, or a smaller --scale"
        )


def write_raster(path: Path, pictures: Any, columns: int | None, scale: int) -> None:
    """Writes uint8 [N, H, W, C] as one PNG, row by row; images that are enlarged have a gap between them."""
    images.save_raster(pictures, path, columns, scale, gap=1 if scale > 1 else 0)


def write_rows(
    paths: Sequence[Path], pictures: np.ndarray, scale: int, seconds: float, frames: np.ndarray | None = None
) -> None:
    """Writes rows of equal length, uint8 [rows, columns, H, W, C].

    Args:
      paths: a .png becomes a picture of the rows; a .gif shows the frames.
      pictures: what to show.
      scale: enlargement of every pixel.
      seconds: how long the .gif shows a frame.
      frames: uint8 [N, H, W, C]; None: one column after the other.
    """
    rows, columns = pictures.shape[:2]
    for path in paths:
        if path.suffix.lower() == ".gif":
            if frames is None:
                side = 1 if rows <= 4 else None  # few: below each other, else about square
                frames = np.stack([images.to_raster(pictures[:, column], side) for column in range(columns)])
            images.save_gif(frames, path, seconds=seconds, times=scale)
        else:
            write_raster(path, pictures.reshape(-1, *pictures.shape[2:]), columns, scale)
