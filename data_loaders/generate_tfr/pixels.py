"""One image -> the same at every resolution, as OpenAI's code makes it: centre crop, area average, halve, round down.

Source: data_loaders/generate_tfr/generate.py of OpenAI's code.
Deviation: it resizes to the largest resolution bilinearly (ImageNet), by Lanczos' filter (LSUN) or by a Gaussian
pyramid (LSUN for RealNVP); here that is an area average too, as its README says, but for images that are too small,
which are enlarged bilinearly.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from data_loaders.folder.images import BadImageError, cell_means, open_image

# An area average in float32 makes 254.99998 of a flat 255. It is rounded to this, far above such errors.
_GRAIN = 2.0**-10


def sides(size: int, smallest: int) -> tuple[int, ...]:
    """The sides of all resolutions: `size`, its half and so on, down to `smallest` or an odd number."""
    found = [size]
    while found[-1] % 2 == 0 and found[-1] // 2 >= smallest:
        found.append(found[-1] // 2)
    return tuple(found)


def decode(data: bytes, formats: tuple[str, ...]) -> np.ndarray:
    """The pixels of a picture's file, uint8 [H, W, 3]; orientation is left alone, as OpenAI's code does.

    Raises:
      BadImageError: it cannot be decoded.
    """
    with open_image(io.BytesIO(data), formats) as picture:
        return np.asarray(picture.convert("RGB"))


def square(pixels: np.ndarray, size: int, *, enlarge: bool) -> np.ndarray:
    """The centre of an image, averaged to size x size: uint8 [H, W, C] -> float32 [size, size, C].

    Raises:
      BadImageError: it is smaller, and not to be enlarged.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    if side < size and not enlarge:
        raise BadImageError(f"is {height}x{width}, smaller than {size}x{size}")
    top, left = (height - side) // 2, (width - side) // 2
    return _resize(pixels[top : top + side, left : left + side], (size, size))


def shorter_side(pixels: np.ndarray, size: int) -> np.ndarray:
    """The whole image, its shorter side averaged to `size`: float32 [size, >= size, C] or [>= size, size, C]."""
    height, width = pixels.shape[:2]
    scale = min(height, width) / size
    return _resize(pixels, (math.ceil(height / scale), math.ceil(width / scale)))


def halves(pixels: np.ndarray, wanted: tuple[int, ...]) -> list[np.ndarray]:
    """An image at every resolution: float32 [S, S, C] with S = wanted[0] -> uint8 arrays, every one half as large."""
    found = []
    for side in wanted:
        if side != pixels.shape[0]:  # sums of four bytes and their quarters are exact in float32
            rows = pixels[0::2] + pixels[1::2]
            pixels = (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)
        found.append(round_down(pixels))
    return found


def round_down(pixels: np.ndarray) -> np.ndarray:
    """Float grey levels to uint8."""
    return np.floor(pixels).clip(0, 255).astype(np.uint8)


def _resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    have = (pixels.shape[0], pixels.shape[1])
    if have == size:
        return pixels.astype(np.float32)
    if have[0] < size[0] or have[1] < size[1]:
        picture = Image.fromarray(np.ascontiguousarray(pixels)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return np.asarray(picture, np.float32)
    cells = cell_means(pixels.astype(np.float32), have, (1, 1), size)
    return np.rint(cells / _GRAIN).astype(np.float32) * np.float32(_GRAIN)
