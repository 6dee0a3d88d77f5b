"""The pictures of the experiments: curves, and rows of images with labels. Matplotlib is imported when one is drawn."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glow_tf import images
from glow_tf.experiments import results
from glow_tf.storage.files import atomic_write


@contextlib.contextmanager
def figure(study: Any, columns: int, *, width: float = 5.0, height: float = 3.8) -> Iterator[list[Any]]:
    """So many panels side by side, to be drawn on; then the picture is written, with what the source found below."""
    from matplotlib.figure import Figure  # not pyplot, which looks for a display

    drawn = Figure(figsize=(width * columns, height), layout="constrained")
    yield list(drawn.subplots(1, columns, squeeze=False)[0])
    text = "; ".join(f"{name}: {results.text(value)}" for name, value in study.module.PUBLISHED.items())
    data = study.data.describe() if study.data else "images of noise"
    note = f"{study.module.SOURCE}. {text}. Here: scale {study.scale}, {data}"
    drawn.supxlabel("\n".join(textwrap.wrap(note, int(15 * drawn.get_figwidth()))), fontsize=8)
    with atomic_write(study.picture()) as temporary:
        drawn.savefig(temporary, dpi=110)


def curves(axis: Any, logdirs: Mapping[str, Sequence[Path]], title: str) -> None:
    """Test bits/dim against epochs: a line for each name, the mean over its trainings, with their spread."""
    for name, folders in logdirs.items():
        tests = [results.curve(folder, "test") for folder in folders]
        epochs = tests[0][0]
        values = np.array([bits for _, bits in tests])
        (line,) = axis.plot(epochs, values.mean(0), "o-", markersize=3, label=name)
        if len(values) > 1:
            low, high = values.mean(0) - values.std(0), values.mean(0) + values.std(0)
            axis.fill_between(epochs, low, high, color=line.get_color(), alpha=0.2)
    axis.set(xlabel="epoch", ylabel="test bits/dim", title=title)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.legend()


def rows(axis: Any, pictures: np.ndarray, labels: Sequence[str] = (), title: str = "") -> None:
    """Rows of images, uint8 [rows, columns, H, W, C], with a label before each row."""
    n, columns, height = pictures.shape[:3]
    raster = images.to_raster(pictures.reshape(-1, *pictures.shape[2:]), columns, gap=1)
    shown = raster[..., 0] if raster.shape[-1] == 1 else raster
    axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([(height + 1) * (row + 0.5) for row in range(n)] if labels else [], labels or [])
    axis.tick_params(length=0)
    axis.set_title(title)
    for side in axis.spines.values():
        side.set_visible(False)
