"""Faces, found with OpenCV's Haar cascades and moved so that the eyes are where a model expects them."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import NamedTuple

import cv2
import cv2.data
import numpy as np

# Where OpenAI's demo puts the left eye (of the picture, not of the person), in shares of width and height; the
# right one mirrors it. So are the faces of CelebA-HQ.
EYES = (0.371, 0.480)

_SEARCHED = 640  # pixels of the longer side when a face is searched: enough, and bounded time for large photographs
_SMALLEST = 64  # pixels of a face's box there
_IN_FACE = ((0.31, 0.39), (0.69, 0.39))  # where the eyes are in the face cascade's boxes, on average
_MOST_BLUR = 16  # times finer than its pixels the picture is drawn before it is averaged down


class Face(NamedTuple):
    """The eyes' centres (x, y) in pixels, and whether they were seen or guessed from the face."""

    left: tuple[float, float]
    right: tuple[float, float]
    seen: bool


class FaceFinder:
    """Finds the largest face of a picture."""

    def __init__(self) -> None:
        self._faces = _cascade("haarcascade_frontalface_default.xml")
        self._eyes = _cascade("haarcascade_eye.xml")

    def find(self, pixels: np.ndarray) -> Face | None:
        """The largest face in uint8 [H, W, 3], or None."""
        scale = _SEARCHED / max(pixels.shape[:2])
        if scale * min(pixels.shape[:2]) < _SMALLEST:  # a strip, which may have no pixels left when it is made smaller
            return None
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        gray = cv2.cvtColor(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=way), cv2.COLOR_RGB2GRAY)
        found = self._faces.detectMultiScale(gray, 1.1, 6, minSize=(_SMALLEST, _SMALLEST))
        if len(found) == 0:
            return None
        x, y, side, _ = max(found, key=lambda box: box[2])
        pair = self._eye_pair(gray[y : y + int(0.6 * side), x : x + side], side)
        left, right = (((x + u * side) / scale, (y + v * side) / scale) for u, v in pair or _IN_FACE)
        return Face(left, right, pair is not None)

    def _eye_pair(self, upper: np.ndarray, side: int) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Two eyes in the upper part of a face, in shares of its side: the pair most like eyes in a face."""
        least = max(8, side // 10)
        boxes = self._eyes.detectMultiScale(upper, 1.05, 4, minSize=(least, least), maxSize=(side // 2, side // 2))
        centres = sorted(((x + w / 2) / side, (y + h / 2) / side) for x, y, w, h in boxes)

        def strangeness(pair: tuple[tuple[float, float], ...]) -> float:
            return sum(math.dist(eye, usual) for eye, usual in zip(pair, _IN_FACE, strict=True))

        pairs = [pair for pair in itertools.combinations(centres, 2) if strangeness(pair) < 0.25]
        return min(pairs, key=strangeness) if pairs else None


def align(pixels: np.ndarray, face: Face, size: tuple[int, int], eyes: tuple[float, float] = EYES) -> np.ndarray:
    """The picture turned, scaled and cropped so that the face's eyes are level and in place.

    Args:
      pixels: uint8 [H, W, 3].
      face: in it.
      size: (h, w) of the result.
      eyes: where the left one goes, in shares of w and h; below 0.5 across.

    Returns:
      uint8 [h, w, 3]; what lies outside of the picture is mirrored in.
    """
    height, width = size
    across, down = face.right[0] - face.left[0], face.right[1] - face.left[1]
    scale = (1 - 2 * eyes[0]) * width / max(1.0, math.hypot(across, down))
    finer = min(_MOST_BLUR, max(1, math.ceil(1 / scale)))
    middle = ((face.left[0] + face.right[0]) / 2, (face.left[1] + face.right[1]) / 2)
    matrix = cv2.getRotationMatrix2D(middle, math.degrees(math.atan2(down, across)), scale * finer)
    # pixel centres are whole numbers to OpenCV: the picture's middle is at (finer * width - 1) / 2
    matrix[:, 2] += (finer * width / 2 - 0.5 - middle[0], finer * height * eyes[1] - 0.5 - middle[1])
    drawn = cv2.warpAffine(
        pixels, matrix, (finer * width, finer * height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)


def _cascade(name: str) -> cv2.CascadeClassifier:
    path = Path(cv2.data.haarcascades, name)
    if not path.is_file():
        raise ValueError(f"this OpenCV ({cv2.__version__}) has no {name}; one below version 5 is needed")
    return cv2.CascadeClassifier(str(path))
