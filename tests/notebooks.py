"""Executes a notebook without Jupyter: python -m tests.notebooks docs/tour.ipynb writes its outputs into it.

Cells are plain Python. What they print becomes text, and what they pass to `display` (a Pillow image) a PNG, as Jupyter
shows them.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def execute(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs of its code cells, which run in this process, one after the other.

    Raises:
      RuntimeError: a cell fails; the message has its source.
    """
    scope: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell = {**cell, "execution_count": count, "outputs": _outputs("".join(cell["source"]), scope)}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _outputs(source: str, scope: dict[str, Any]) -> list[dict[str, Any]]:
    printed = io.StringIO()
    shown: list[dict[str, Any]] = []

    def display(image: Any) -> None:
        file = io.BytesIO()
        image.save(file, "png", optimize=True)
        data = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": [f"{image.size}"]}
        shown.append({"output_type": "display_data", "data": data, "metadata": {}})

    scope["display"] = display
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(source, "<cell>", "exec"), scope)
    except Exception as error:
        raise RuntimeError(f"{type(error).__name__}: {error}, in the cell\n{source}") from error
    text = printed.getvalue().splitlines(keepends=True)
    return ([{"output_type": "stream", "name": "stdout", "text": text}] if text else []) + shown


def main(path: Path) -> None:
    """Executes the notebook in place."""
    notebook = execute(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
