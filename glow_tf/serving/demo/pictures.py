"""Pictures for the page: as HTML, inside of the page itself, so that moving a slider writes no files; and as tiles."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from glow_tf.images import enlarge, enlargement_for, to_pillow


def png(image: np.ndarray) -> bytes:
    """uint8 [H, W, 1 or 3] as a PNG."""
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, format="PNG")
    return buffer.getvalue()


def figure(image: np.ndarray, caption: str, *, save_as: str | None = None) -> str:
    """An image of pixels, enlarged by the browser without smoothing.

    Args:
      image: uint8 [H, W, 1 or 3].
      caption: plain text of ours.
      save_as: the file name under which a link saves it; None for no link.
    """
    source = "data:image/png;base64," + base64.b64encode(png(image)).decode()
    link = f' <a class="save" download="{save_as}" href="{source}">Save</a>' if save_as else ""
    return (
        f'<figure class="picture"><img alt="{caption}" src="{source}"><figcaption>{caption}{link}</figcaption></figure>'
    )


def no_figure(caption: str) -> str:
    """The place where a `figure` will be."""
    return f'<figure class="picture"><div class="none"></div><figcaption>{caption}</figcaption></figure>'


def tiles(images: np.ndarray) -> list[Image.Image]:
    """What a gallery takes: tiny images enlarged."""
    times = enlargement_for(images.shape[1], images.shape[2], 64)
    return [to_pillow(enlarge(image, times)) for image in images]
