"""The page, in Gradio."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from glow_tf.images import enlarge, enlargement_for
from glow_tf.serving.demo.editor import MAX_SEED, MOST_ALPHA, MOST_SAMPLES, MOST_TEMPERATURE, Editor
from glow_tf.serving.demo.pictures import figure, no_figure
from glow_tf.serving.demo.uploads import Uploads
from glow_tf.serving.demo.web import gr

CSS = """
.picture { margin: 0; text-align: center }
.picture img, .picture .none { width: 100%; max-width: 14rem; image-rendering: pixelated; margin: auto; display: block }
.picture .none { aspect-ratio: 1; background: var(--background-fill-secondary) }
.sliders { max-height: 22rem; overflow-y: auto; flex-wrap: nowrap }
.gallery .grid-container { grid-template-columns: repeat(auto-fill, minmax(72px, 1fr)) !important }
.gallery img { image-rendering: pixelated }
"""
_A_ROW = 5  # sliders
_EVERY_CLASS = "every class in turn"
_TARGETS = ("picture", "second picture")
_FORGET_AFTER = 3600  # seconds that a visitor's latents are kept


def build(editor: Editor, uploads: Uploads, examples: np.ndarray, title: str) -> Any:
    """The page.

    Args:
      editor: what it does.
      uploads: how files are read.
      examples: uint8 [N, H, W, C], pictures to pick from.
      title: for people.
    """
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, _FORGET_AFTER)) as page:
        gr.Markdown(f"# {title}")
        latents, other = (gr.State(None, time_to_live=_FORGET_AFTER) for _ in range(2))
        shown = gr.State(examples, time_to_live=_FORGET_AFTER)
        with gr.Row():
            files = [
                gr.File(label=label, file_types=[".png", ".jpg", ".jpeg"], elem_id=name, height=120)
                for label, name in (("Picture", "upload"), ("Second picture, to blend with", "upload-second"))
            ]
        find_face = gr.Checkbox(uploads.finds_faces, label="Find the face and align it", visible=uploads.finds_faces)
        note = gr.Markdown("Upload a picture, or pick one below.", elem_id="note")
        with gr.Row():
            original = gr.HTML(no_figure("picture"), elem_id="original")
            reconstruction = gr.HTML(no_figure("reconstruction"), elem_id="reconstruction")
            result = gr.HTML(no_figure("result"), elem_id="result")
            second = gr.HTML(no_figure("second picture"), elem_id="second")
        with gr.Row():
            latency = gr.Markdown("", elem_id="latency")
            reset = gr.Button("Reset", size="sm", elem_id="reset", scale=0)
        blend = gr.Slider(0, 1, 0, step=0.01, label="Blend with the second picture", elem_id="blend")
        with gr.Column(elem_classes="sliders"):  # many scroll by themselves, so that the picture stays in sight
            sliders = _attribute_sliders(editor.names)
        with gr.Row():
            with gr.Column(scale=3):
                target = gr.Radio(
                    _TARGETS, value=_TARGETS[0], label="A click on a picture below opens it as", elem_id="target"
                )
                gallery = gr.Gallery(
                    tiles(examples),
                    show_label=False,
                    elem_id="gallery",
                    elem_classes="gallery",
                    format="png",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                )
            with gr.Column():
                temperature = gr.Slider(0, MOST_TEMPERATURE, 0.7, step=0.05, label="Temperature", elem_id="temperature")
                classes = [_EVERY_CLASS, *map(str, range(editor.config.n_y))]
                chosen = gr.Dropdown(
                    classes, value=_EVERY_CLASS, label="Class", elem_id="class", visible=editor.config.ycond
                )
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id="seed")
                draw = gr.Button("Sample", variant="primary", elem_id="sample")

        actions = _Actions(editor, uploads)
        moved = [latents, other, blend, *sliders]
        pictures = [result, latency]

        def on(triggers: Any, function: Callable[..., Any], inputs: list[Any], outputs: list[Any], **how: Any) -> Any:
            quiet = {"api_visibility": "private", "concurrency_id": "model", "concurrency_limit": 1}
            return gr.on(triggers, _told(function), inputs, outputs, **quiet, **how)

        # While a slider is dragged, the moves that the model is too slow for are left out, but not the last.
        live = {"show_progress": "hidden", "trigger_mode": "always_last"}
        on([slider.input for slider in (blend, *sliders)], actions.show, moved, pictures, **live)
        reset.click(lambda: [0] * (1 + len(sliders)), None, [blend, *sliders], api_visibility="private").then(
            _told(actions.show), moved, pictures, api_visibility="private", concurrency_id="model"
        )
        firsts, seconds = [latents, original, reconstruction, note], [other, second, note]
        for file, open_file, outputs in (
            (files[0], actions.upload, firsts),
            (files[1], actions.upload_second, seconds),
        ):
            opened = on([file.upload], open_file, [file, find_face], outputs)
            opened.success(_told(actions.show), moved, pictures, api_visibility="private", concurrency_id="model")
        picked = on(
            [gallery.select], actions.pick, [shown, target], [latents, original, reconstruction, other, second, note]
        )
        picked.success(_told(actions.show), moved, pictures, api_visibility="private", concurrency_id="model")
        on([draw.click], actions.sample, [temperature, chosen, seed], [gallery, shown, note])
    return page


def _attribute_sliders(names: Sequence[str]) -> list[Any]:
    sliders = []
    for begin in range(0, len(names), _A_ROW):
        with gr.Row():
            sliders += [
                gr.Slider(-MOST_ALPHA, MOST_ALPHA, 0, step=0.05, label=name, elem_classes="attribute", min_width=120)
                for name in names[begin : begin + _A_ROW]
            ]
    return sliders


def tiles(images: np.ndarray) -> list[Image.Image]:
    """What a gallery takes: tiny images enlarged."""
    times = enlargement_for(images.shape[1], images.shape[2], 64)
    bigger = [enlarge(image, times) for image in images]
    return [Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image) for image in bigger]


class _Actions:
    """What happens on the page; each returns new values of the components that `build` lists for it."""

    def __init__(self, editor: Editor, uploads: Uploads):
        self.editor, self.uploads = editor, uploads

    def upload(self, path: str | None, find_face: Any) -> list[Any]:
        image, note = self._read(path, find_face)
        return [*self._opened(image), note]

    def upload_second(self, path: str | None, find_face: Any) -> list[Any]:
        image, note = self._read(path, find_face)
        return [self.editor.encode(image), figure(image, "second picture"), note]

    def pick(self, shown: np.ndarray, target: str, event: gr.SelectData) -> list[Any]:
        index = event.index if isinstance(event.index, int) else -1
        if not 0 <= index < len(shown):
            raise ValueError("There is no such picture.")
        image, note = shown[index], f"Number {index + 1} of those below."
        if target == _TARGETS[1]:
            return [*[gr.skip()] * 3, self.editor.encode(image), figure(image, "second picture"), note]
        return [*self._opened(image), gr.skip(), gr.skip(), note]

    def show(self, latents: np.ndarray | None, other: np.ndarray | None, blend: Any, *alphas: Any) -> list[Any]:
        if latents is None:
            return [no_figure("result"), "First open a picture."]
        begin = time.perf_counter()
        image = self.editor.picture(latents, other, blend, alphas)
        took = 1000 * (time.perf_counter() - begin)
        if other is None and blend:
            return [
                figure(image, "result", save_as="result.png"),
                f"{took:.0f} ms. There is no second picture to blend with.",
            ]
        return [figure(image, "result", save_as="result.png"), f"{took:.0f} ms for this picture."]

    def sample(self, temperature: Any, chosen: Any, seed: Any) -> list[Any]:
        label = None if chosen == _EVERY_CLASS or not str(chosen).isdecimal() else int(chosen)
        n = min(MOST_SAMPLES, 2 * self.editor.config.n_y) if label is None and self.editor.config.ycond else 16
        begin = time.perf_counter()
        images = self.editor.sample(n, temperature, label, seed)
        note = f"{n} samples in {time.perf_counter() - begin:.2f} s. A click opens one."
        return [gr.Gallery(tiles(images), selected_index=None), images, note]

    def _read(self, path: str | None, find_face: Any) -> tuple[np.ndarray, str]:
        if path is None:
            raise ValueError("There is no file.")
        return self.uploads.read(path, find_face=bool(find_face))

    def _opened(self, image: np.ndarray) -> list[Any]:
        latents = self.editor.encode(image)
        back = self.editor.picture(latents, alphas=[0] * len(self.editor.names))
        return [latents, figure(image, "picture"), figure(back, "reconstruction")]


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, whose ValueErrors the visitor reads."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return call
