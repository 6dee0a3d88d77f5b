"""The page, in Gradio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from glow_tf.serving.demo.actions import EVERY_CLASS, TARGETS, Actions, showing_errors
from glow_tf.serving.demo.editor import MAX_SEED, MOST_ALPHA, MOST_TEMPERATURE, Editor
from glow_tf.serving.demo.pictures import no_figure, tiles
from glow_tf.serving.demo.storage import FORGET_AFTER
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


def build(editor: Editor, uploads: Uploads, examples: np.ndarray, title: str) -> Any:
    """The page.

    Args:
      editor: what it does.
      uploads: how files are read.
      examples: uint8 [N, H, W, C], pictures to pick from.
      title: for people.
    """
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, FORGET_AFTER)) as page:
        gr.Markdown(f"# {title}")
        latents, other, context = (gr.State(None, time_to_live=FORGET_AFTER) for _ in range(3))
        drawing = gr.State(None)  # kept as long as a browser may show its samples
        with gr.Row():
            files = [
                gr.File(label=label, file_types=[".png", ".jpg", ".jpeg"], elem_id=name, height=120)
                for label, name in (("Picture", "upload"), ("Second picture, to blend with", "upload-second"))
            ]
        find_face = gr.Checkbox(uploads.finds_faces, label="Find the face and align it", visible=uploads.finds_faces)
        note = gr.Markdown("Upload a picture, or pick one below.", elem_id="note")
        with gr.Row():
            original = gr.HTML(no_figure("picture"), elem_id="original")
            conditional = editor.config.context_given  # then samples are answers to the picture's context
            given = gr.HTML(no_figure("context"), elem_id="context", visible=conditional)
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
                    TARGETS, value=TARGETS[0], label="A click on a picture below opens it as", elem_id="target"
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
                classes = [EVERY_CLASS, *map(str, range(editor.config.n_y))]
                chosen = gr.Dropdown(
                    classes, value=EVERY_CLASS, label="Class", elem_id="class", visible=editor.config.takes_labels
                )
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id="seed")
                draw = gr.Button("Sample", variant="primary", elem_id="sample")

        actions = Actions(editor, uploads, examples)
        quiet = {"api_visibility": "private", "concurrency_id": "model", "concurrency_limit": 1}

        def on(triggers: Any, function: Callable[..., Any], inputs: list[Any], outputs: list[Any], **how: Any) -> Any:
            return gr.on(triggers, showing_errors(function), inputs, outputs, **quiet, **how)

        moved, moves = [latents, other, context, blend, *sliders], [blend, *sliders]

        def then_show(after: Callable[..., Any]) -> None:
            after(showing_errors(actions.show), moved, [result, latency], **quiet)

        # While a slider is dragged, the moves that the model is too slow for are left out, but not the last.
        live = {"show_progress": "hidden", "trigger_mode": "always_last"}
        on([slider.input for slider in moves], actions.show, moved, [result, latency], **live)
        then_show(reset.click(lambda: [0] * len(moves), None, moves, api_visibility="private").then)
        firsts, seconds = [latents, original, reconstruction, context, given], [other, second]
        then_show(on([files[0].upload], actions.upload, [files[0], find_face], [*firsts, note]).success)
        then_show(on([files[1].upload], actions.upload_second, [files[1], find_face], [*seconds, note]).success)
        then_show(on([gallery.select], actions.pick, [drawing, target], [*firsts, *seconds, note]).success)
        on([draw.click], actions.sample, [temperature, chosen, seed, context], [gallery, drawing, note])
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
