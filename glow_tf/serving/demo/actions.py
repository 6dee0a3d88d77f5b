"""What happens on the page: from what its controls hold to what they show next."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from glow_tf.serving.demo.editor import MOST_SAMPLES, Editor
from glow_tf.serving.demo.pictures import figure, no_figure, tiles
from glow_tf.serving.demo.uploads import Uploads
from glow_tf.serving.demo.web import gr

EVERY_CLASS = "every class in turn"
TARGETS = ("picture", "second picture")


class Drawing(NamedTuple):
    """How the samples that are shown were drawn, which is all that is kept of them: `Editor.sample`'s arguments."""

    n: int
    temperature: Any
    label: int | None
    seed: Any
    context: np.ndarray | None = None


class Actions:
    """Each returns new values of the components that `build` lists for it.

    Args:
      editor: what it does.
      uploads: how files are read.
      examples: uint8 [N, H, W, C], what is shown to pick from until samples are drawn.
    """

    def __init__(self, editor: Editor, uploads: Uploads, examples: np.ndarray):
        self.editor, self.uploads, self.examples = editor, uploads, examples

    def upload(self, path: str | None, find_face: Any) -> list[Any]:
        """A file, as the picture."""
        image, note = self._read(path, find_face)
        return [*self._opened(image), note]

    def upload_second(self, path: str | None, find_face: Any) -> list[Any]:
        """A file, as the second picture."""
        image, note = self._read(path, find_face)
        return [self.editor.encode(image), figure(image, "second picture"), note]

    def pick(self, drawing: Drawing | None, target: str, event: gr.SelectData) -> list[Any]:
        """An example or, where there is a drawing, a sample, as either picture."""
        index = event.index if isinstance(event.index, int) else -1
        if not 0 <= index < (len(self.examples) if drawing is None else drawing.n):
            raise ValueError("There is no such picture.")
        image = self.examples[index] if drawing is None else self.editor.sample(*drawing, only=index)[0]
        note = f"Number {index + 1} of those below."
        if target == TARGETS[1]:
            return [*[gr.skip()] * 5, self.editor.encode(image), figure(image, "second picture"), note]
        return [*self._opened(image), gr.skip(), gr.skip(), note]

    def show(
        self,
        latents: np.ndarray | None,
        other: np.ndarray | None,
        context: np.ndarray | None,
        blend: Any,
        *alphas: Any,
    ) -> list[Any]:
        """The picture, moved as the sliders say; its context stays."""
        if latents is None:
            return [no_figure("result"), "First open a picture."]
        begin = time.perf_counter()
        image = self.editor.picture(latents, other, blend, alphas, context)
        note = f"{1000 * (time.perf_counter() - begin):.0f} ms for this picture."
        if other is None and blend:
            note += " There is no second picture to blend with."
        return [figure(image, "result", save_as="result.png"), note]

    def sample(self, temperature: Any, chosen: Any, seed: Any, context: np.ndarray | None) -> list[Any]:
        """New samples to pick from; of a model that is given a context, answers to that of the picture."""
        if self.editor.config.context_given and context is None:
            raise ValueError("First open a picture: samples are answers to what the model is given of it.")
        label = None if chosen == EVERY_CLASS or not str(chosen).isdecimal() else int(chosen)
        every = label is None and self.editor.config.takes_labels
        n = min(MOST_SAMPLES, 2 * self.editor.config.n_y) if every else 16
        drawing, begin = Drawing(n, temperature, label, seed, context), time.perf_counter()
        images = self.editor.sample(*drawing)
        note = f"{n} samples in {time.perf_counter() - begin:.2f} s. A click opens one."
        return [gr.Gallery(tiles(images), selected_index=None), drawing, note]

    def _read(self, path: str | None, find_face: Any) -> tuple[np.ndarray, str]:
        if path is None:
            raise ValueError("There is no file.")
        return self.uploads.read(path, find_face=bool(find_face))

    def _opened(self, image: np.ndarray) -> list[Any]:
        latents, context = self.editor.encode(image), self.editor.context(image)
        back = self.editor.picture(latents, alphas=[0] * len(self.editor.names), context=context)
        given = no_figure("context") if context is None else figure(self.editor.shown(context), "context")
        return [latents, figure(image, "picture"), figure(back, "reconstruction"), context, given]


def showing_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, whose ValueErrors the visitor reads."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return call
