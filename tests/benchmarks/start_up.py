"""Seconds from the command to the first training step on folders of many files: rows of bench_loaders.py.

The files are hard links of a few, with names of their own. A start is the first where nothing is known of the folder,
and the second otherwise. Memory is what the training processes hold together of their own and of what they share
(proportional set size), less what they hold with `digits`, 5 s after the first step.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
FACES = ROOT.parent / "shared" / "data" / "faces" / "images"
COUNTS = (200_000, 1_000_000)
_FIRST_STEP = re.compile(r"\bstep 1/")
_SETTLED = 5.0  # seconds from the first step to the look at memory
_MODEL = ["--n_levels", "2", "--depth", "2", "--width", "16", "--anchor_size", "32", "--n_batch_init", "64"]
_RUN = ["--epochs_full_valid", "1000", "--epochs_full_sample", "1000", "--epochs", "1000", "--n_train", "100000"]


def link_images(source: Path, folder: Path, count: int) -> None:
    """A folder of so many files, hard links of copies of the source's."""
    kept = folder.parent / "originals"
    if not kept.is_dir():
        shutil.copytree(source, kept)
    files = sorted(path for path in kept.iterdir() if path.suffix in (".png", ".jpg"))
    folder.mkdir()
    for number in range(count):
        file = files[number % len(files)]
        os.link(file, folder / f"{number:07}{file.suffix}")


def start(
    problem: list[str],
    cache: Path,
    *,
    ranks: int = 1,
    options: Sequence[str] = (),
    code: Path = ROOT,
    limit: float = 900.0,
) -> tuple[float, int]:
    """Trains until some seconds after the first step, and stops.

    Args:
      problem: the flags of train.py that name the data.
      cache: the user's cache.
      ranks: processes.
      options: of horovodrun, where there are several.
      code: the checkout whose train.py it is.
      limit: seconds after which it is given up.

    Returns:
      Seconds to the first step (infinite where it is given up), and bytes of memory then.
    """
    with tempfile.TemporaryDirectory() as logdir:
        command = [sys.executable, "train.py", *problem, "--logdir", f"{logdir}/run", *_MODEL, *_RUN]
        if ranks > 1:
            command = ["horovodrun", *options, "-np", str(ranks), *command]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**os.environ, "PYTHONPATH": str(code), "XDG_CACHE_HOME": str(cache), "PATH": path}
        begin, log = time.monotonic(), Path(logdir) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=code,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # horovodrun kills its process group when it ends
            )
        try:
            while not _FIRST_STEP.search(log.read_text(errors="replace")):
                if process.poll() is not None:
                    raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text(errors='replace')[-2000:]}")
                if time.monotonic() - begin > limit:
                    return float("inf"), _memory(process.pid)
                time.sleep(0.02)
            seconds = time.monotonic() - begin
            time.sleep(_SETTLED)
            return seconds, _memory(process.pid)
        finally:
            for each in _tree(process.pid) if process.poll() is None else ():
                with contextlib.suppress(psutil.Error):
                    each.kill()
            process.wait()


def _tree(process: int) -> list[psutil.Process]:
    """A process and all that it began, directly or not (horovodrun's workers are in sessions of their own)."""
    first = psutil.Process(process)
    return [first, *first.children(recursive=True)]


def _memory(process: int) -> int:
    """Proportional set size of a process and all that it began, in bytes."""
    total = 0
    for each in _tree(process):
        with contextlib.suppress(psutil.Error):  # it has ended
            total += each.memory_full_info().pss
    return total


def rows(
    folder: Path, cache: Path, *, options: Sequence[str] = (), code: Path = ROOT, limit: float = 900.0
) -> list[dict[str, Any]]:
    """A first and a second start on a folder of which nothing is known, with one process and with two."""
    found = []
    for ranks in (1, 2):
        shutil.rmtree(cache, ignore_errors=True)
        (folder / ".glow_tf_index.sqlite").unlink(missing_ok=True)
        _, base = start(["--problem", "digits", "--image_size", "8"], cache, ranks=ranks, options=options, code=code)
        problem = ["--problem", "folder", "--image_dir", str(folder), "--image_size", "32"]
        for which in ("first", "second"):
            seconds, memory = start(problem, cache, ranks=ranks, options=options, code=code, limit=limit)
            found.append(
                {"processes": ranks, "start": which, "seconds": seconds, "memory_mb": max(0, memory - base) / 2**20}
            )
    return found


def print_table(
    counts: tuple[int, ...] = COUNTS, *, images: Path = FACES, options: Sequence[str] = (), code: Path = ROOT
) -> list[dict[str, Any]]:
    """Measures and prints all rows; none where the images are not there."""
    found: list[dict[str, Any]] = []
    if not images.is_dir():
        print(f"start-up: no images in {images}")
        return found
    print("\n| files | processes | start | seconds to the first step | memory, MB |\n|---|---|---|---|---|", flush=True)
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            link_images(images, Path(name) / "images", count)
            for row in rows(Path(name) / "images", Path(name) / "cache", options=options, code=code):
                found.append({"files": count, **row})
                figures = f"{row['seconds']:.1f} | {row['memory_mb']:.0f}"
                print(f"| {count} | {row['processes']} | {row['start']} | {figures} |", flush=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measures how long training on large folders takes to begin.")
    parser.add_argument("--gloo", action="store_true", help="start two processes with horovodrun --gloo")
    print_table(options=["--gloo"] if parser.parse_args().gloo else [])
