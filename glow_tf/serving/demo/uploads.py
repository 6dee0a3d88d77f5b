"""A file from a visitor -> an image of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_loaders.folder.images import BadImageError, centre_box, crop_centre, read_upright
from glow_tf.config import GlowConfig
from glow_tf.serving.demo.faces import EYES, FaceFinder, align


class UploadError(ValueError):
    """A file that cannot be used; the message is for the visitor."""


class Uploads:
    """Reads files for one model.

    Args:
      config: the model's.
      eyes: where its training images have the left eye, in shares of width and height; None for a model whose images
        are no faces.
    """

    def __init__(self, config: GlowConfig, eyes: tuple[float, float] | None = EYES):
        self._config, self._eyes = config, eyes
        self._finder = FaceFinder() if eyes is not None and config.channels == 3 else None

    @property
    def finds_faces(self) -> bool:
        """Whether `read` can align."""
        return self._finder is not None

    def read(self, path: str | Path, *, find_face: bool) -> tuple[np.ndarray, str]:
        """(uint8 [H, W, C], what was done with the picture).

        Raises:
          UploadError: it is no PNG or JPEG image, damaged, too large, or smaller than the model's images.
        """
        size = self._config.height, self._config.image_width
        try:
            picture = read_upright(path, self._config.channels)
            centre_box((picture.height, picture.width), size)  # a face in a picture that is too small is too small too
            if find_face and self._finder is not None and self._eyes is not None:
                pixels = np.asarray(picture)
                face = self._finder.find(pixels)
                if face is not None:
                    how = "aligned by its eyes" if face.seen else "aligned by its outline, as the eyes were not found"
                    return align(pixels, face, size, self._eyes), f"A face was found, and {how}."
                return crop_centre(picture, size), "No face was found: this is the centre of the picture."
            return crop_centre(picture, size), "The centre of the picture."
        except BadImageError as error:
            raise UploadError(f"This file {error}.") from None
