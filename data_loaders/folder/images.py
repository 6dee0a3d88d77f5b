"""One image file -> pixels: orientation, palettes, transparency, 16 bits, crop, area resize."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from data_loaders.errors import DataError

try:
    from PIL import ExifTags, Image, ImageOps
except ImportError as error:
    raise DataError("Problem 'folder' reads images with Pillow: pip install pillow.") from error

EXTENSIONS = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 2**26  # 8192 x 8192; a small file can claim far more than memory holds

_FORMATS = ("PNG", "JPEG")
_GRAY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")
_SIDEWAYS = (5, 6, 7, 8)  # EXIF's orientations of images that are stored with height and width exchanged
_BACKGROUND = 255  # what shows through transparent pixels: white, as on a page


class BadImageError(DataError):
    """An image that cannot be used; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class Header:
    """What a file's header says: its size when it is upright, and whether it is grayscale."""

    height: int
    width: int
    gray: bool


def read_header(path: str | os.PathLike[str]) -> Header:
    """Reads the header only.

    Raises:
      BadImageError: missing, no PNG or JPEG, damaged, or too large.
    """
    with open_image(path) as image:
        width, height = image.size
        if image.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS:
            width, height = height, width
        return Header(height, width, _is_gray(image))


def read_image(path: str | os.PathLike[str], size: tuple[int, int], channels: int, crop: int = 0) -> np.ndarray:
    """Decodes a file, crops its centre to the aspect of `size` and averages it down to `size`.

    Args:
      path: a PNG or JPEG file.
      size: (H, W).
      channels: 1 (luma) or 3 (RGB). Transparency shows white; 16 bits keep their upper 8.
      crop: as in centre_box.

    Returns:
      uint8 [H, W, channels].

    Raises:
      BadImageError: missing, damaged, truncated, too large or smaller than `size` or `crop`.
    """
    return crop_centre(read_upright(path, channels), size, crop)


def read_upright(file: str | os.PathLike[str] | IO[bytes], channels: int) -> Image.Image:
    """Decodes a file as `read_image` does, whole: a picture of mode L (1 channel) or RGB (3).

    Raises:
      BadImageError: missing, damaged, truncated or too large.
    """
    with open_image(file) as image:
        return _flatten(ImageOps.exif_transpose(image), "L" if channels == 1 else "RGB")


def crop_centre(picture: Image.Image, size: tuple[int, int], crop: int = 0) -> np.ndarray:
    """The centre of a picture of mode L or RGB, averaged down: uint8 [H, W, 1 or 3]; arguments as centre_box.

    Raises:
      BadImageError: the picture is smaller than `size` or `crop`.
    """
    box = centre_box((picture.height, picture.width), size, crop)
    return _average(picture, box, size).reshape(*size, len(picture.getbands()))


def centre_box(have: tuple[int, int], size: tuple[int, int], crop: int = 0) -> tuple[int, int, int, int]:
    """The largest centred box with the aspect of `size`: (left, top, right, bottom) in pixels.

    Args:
      have: (H, W) of the image.
      size: (H, W) of what it becomes.
      crop: side of the central square that the box lies in; 0: it may be as large as the image.

    Raises:
      BadImageError: the image is smaller than `size` or `crop`.
    """
    if min(have) < crop:
        raise BadImageError(f"is {have[0]}x{have[1]}, smaller than the crop of {crop}x{crop}")
    height, width = (crop, crop) if crop else have
    if height < size[0] or width < size[1]:
        raise BadImageError(f"is {height}x{width}, smaller than {size[0]}x{size[1]}")
    scale = min(height / size[0], width / size[1])
    box_height = min(height, round(size[0] * scale))
    box_width = min(width, round(size[1] * scale))
    top, left = (have[0] - box_height) // 2, (have[1] - box_width) // 2
    return left, top, left + box_width, top + box_height


def _average(image: Image.Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Averages a part of an image down to `size`, rounded to the nearest level: uint8 [h, w(, C)].

    Pixels that lie in two cells count in each by their part in it (Pillow's box filter, unlike its
    `reduce`, gives every pixel to one cell).
    """
    left, top, right, bottom = box
    have = (bottom - top, right - left)
    if have[0] % size[0] == 0 and have[1] % size[1] == 0:
        return np.asarray(image.reduce((have[1] // size[1], have[0] // size[0]), box=box))
    # Large images: whole blocks first, at least four to a cell, for speed and memory.
    block = max(1, have[0] // size[0] // 4), max(1, have[1] // size[1] // 4)
    pixels = np.asarray(image.reduce((block[1], block[0]), box=box), np.float32)
    return np.rint(cell_means(pixels, have, block, size)).clip(0, 255).astype(np.uint8)


def cell_means(blocks: np.ndarray, have: tuple[int, int], block: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Area averages of an image: float32 [h, w(, C)].

    Args:
      blocks: float32 [rows, columns(, C)], the mean of each block of pixels.
      have: (H, W) of the image.
      block: (height, width) of the blocks, of which the last ones may be smaller.
      size: (h, w), at most `have`.
    """
    rows, columns = (_overlaps(have[axis], block[axis], size[axis]) for axis in (0, 1))
    return np.moveaxis(np.tensordot(np.tensordot(rows, blocks, (1, 0)), columns, (1, 1)), -1, 1)


def _overlaps(length: int, block: int, cells: int) -> np.ndarray:
    """float32 [cells, blocks]: the part of each cell that each block covers; rows add up to 1."""
    blocks = np.append(np.arange(0, length, block), length)
    edges = np.arange(cells + 1) * (length / cells)
    low = np.maximum(edges[:-1, None], blocks[None, :-1])
    high = np.minimum(edges[1:, None], blocks[None, 1:])
    return (np.maximum(high - low, 0) * (cells / length)).astype(np.float32)


@contextlib.contextmanager
def open_image(file: str | os.PathLike[str] | IO[bytes], formats: tuple[str, ...] = _FORMATS) -> Iterator[Image.Image]:
    """An image of bounded size, not decoded yet; whatever goes wrong within is a BadImageError."""
    try:
        with Image.open(file, formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadImageError(f"claims {image.height}x{image.width} pixels; at most {MAX_PIXELS} are allowed")
            yield image
    except BadImageError:
        raise
    except FileNotFoundError as error:
        raise BadImageError("is no longer there") from error
    except Image.UnidentifiedImageError as error:
        raise BadImageError(f"is no {' or '.join(formats)} image") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise BadImageError(f"cannot be decoded ({str(error).strip()[:200] or type(error).__name__})") from error


def _is_gray(image: Image.Image) -> bool:
    if image.mode == "P":
        palette = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        return bool(np.all(palette == palette[:, :1]))
    return image.mode in _GRAY_MODES


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """Decodes into 8 bits without transparency."""
    if image.mode.startswith("I"):  # 16-bit grayscale
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert(mode)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        shown = Image.new("RGBA", image.size, (_BACKGROUND,) * 3 + (255,))
        shown.alpha_composite(image.convert("RGBA"))
        return shown.convert(mode)
    return image.convert(mode)
