"""What a run tells: train.txt and test.txt, TensorBoard, and the progress on the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.training.config import StorageError
from glow_tf.training.files import append, write_text
from glow_tf.training.state import TrainState


class ResultLog:
    """A file of JSON lines with the original's keys: hyper-parameters first, then one line a result.

    Its metrics are strings of four decimals, under the names loss, bits_x, bits_y and pred_loss
    (the classification error); both as the original.

    Args:
      path: the file.
      header: the hyper-parameters.
      resumed: where the run goes on; the lines of what it will do again are dropped. None: it is new.
      every: a resumed run also drops results of other epochs than every so many: the test at the
        end of a run that goes on after all.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], resumed: TrainState | None, every: int = 1) -> None:
        self._path, self._waiting = path, ""
        lines = _lines_before(path, resumed, every) if resumed else []
        if not lines:
            lines = [json.dumps(dict(header)) + "\n"]
        self._last = lines[-1]
        write_text(path, "".join(lines))

    def log(self, metrics: Mapping[str, float], **counters: Any) -> None:
        """Appends a line, through to the disk: no checkpoint may be ahead of the log.

        Raises:
          StorageError: it cannot be written now; `settle` tries again.
        """
        names = {"loss": "loss", "bits_x": "bits_x", "bits_y": "bits_y", "pred_loss": "pred_error"}
        results = {name: f"{metrics[metric]:.4f}" for name, metric in names.items()}
        line = json.dumps({**counters, **results}) + "\n"
        if line != self._last:  # a run that was stopped after its last checkpoint evaluates once more
            self._waiting += line
            self._last = line
        self.settle()

    def settle(self) -> None:
        """Writes the lines that could not be written before. Raises StorageError as `log`."""
        if self._waiting:
            append(self._path, self._waiting)
            self._waiting = ""


def _lines_before(path: Path, state: TrainState, every: int) -> list[str]:
    """The whole lines of a log that a run in this state has written (a crash may have left more)."""
    kept: list[str] = []
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        try:
            entry = json.loads(line)
            seen, epoch = entry.get("n_processed", -1), entry.get("epoch", 0)
        except (ValueError, AttributeError):
            break  # half a line: the crash came while it was written
        if seen > state.n_processed or (seen == state.n_processed and epoch > state.epochs_done):
            break
        if epoch % every == 0:
            kept.append(line if line.endswith("\n") else line + "\n")
    return kept


class TensorBoard:
    """Scalars, sample grids and histograms of the actnorm scales, by step.

    Every method raises StorageError where the disk is full; what it had to write is lost then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = tf.summary.create_file_writer(str(folder), max_queue=1000)

    def scalars(self, values: Mapping[str, float], step: int, prefix: str) -> None:
        """Writes "<prefix>/<name>" for every value."""
        with self._writing(step):
            for name, value in values.items():
                tf.summary.scalar(f"{prefix}/{name}", value)

    def image(self, name: str, picture: np.ndarray, step: int) -> None:
        """Writes one picture uint8 [H, W, C]."""
        with self._writing(step):
            tf.summary.image(name, picture[np.newaxis])

    def actnorm_scales(self, variables: Mapping[str, tf.Variable], step: int) -> None:
        """Histograms of exp(3 * logs) of every actnorm; a level's K steps are in one."""
        with self._writing(step):
            for name, variable in variables.items():
                if "actnorm" in name and name.endswith("logs"):
                    tf.summary.histogram(f"{name.removesuffix('logs')}scale", tf.exp(3 * variable))

    def flush(self) -> None:
        """Writes what is waiting."""
        with self._writing(0):
            self._writer.flush()

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            with self._writer.as_default(step=step):
                yield
        except tf.errors.ResourceExhaustedError as error:
            raise StorageError(f"{self._folder} cannot be written: {error.message.splitlines()[0]}") from None


class Progress:
    """The terminal: a bar per epoch with bits/dim, images/s and time left; plain lines elsewhere.

    Args:
      shown: False: say nothing at all (workers other than the first).
      total_steps: length of the whole run in steps, for the time left.
      every: seconds between plain lines.
    """

    def __init__(self, *, shown: bool, total_steps: int, every: float = 10.0) -> None:
        self._shown, self._total, self._every = shown, total_steps, every
        self._bar: Any = None
        self._tqdm: Any = None
        if shown and sys.stderr.isatty():
            try:
                from tqdm import tqdm  # an extra; plain lines do without

                self._tqdm = tqdm
            except ImportError:
                pass
        self._last = self._begin = time.monotonic()
        self._images = self._steps = 0

    def say(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        if self._shown and self._bar is not None:
            self._bar.write(line, file=sys.stdout)
        elif self._shown:
            print(line, flush=True)

    def start_epoch(self, epoch: int, steps: int, done: int) -> None:
        """Begins an epoch of so many steps, of which `done` are behind it already."""
        self._epoch, self._epoch_steps = epoch, steps
        if self._tqdm is not None:
            self._bar = self._tqdm(total=steps, initial=done, desc=f"epoch {epoch}", unit="step", leave=False)

    def step(self, state: TrainState, metrics: Mapping[str, float], images: int) -> None:
        """Counts one step of so many images."""
        now = time.monotonic()
        if self._steps == 0:  # the first step traces the model: it says nothing about the speed
            self._begin, images = now, 0
        self._steps, self._images = self._steps + 1, self._images + images
        if self._bar is not None:
            self._bar.update()
        due = now - self._last >= (0.5 if self._bar is not None else self._every)
        if not (self._shown and (due or self._steps == 1)):
            return
        self._last = now
        mean = state.epoch_means()["bits_x"]
        text = f"bits/dim {metrics['bits_x']:.3f} (epoch {mean:.3f})"
        if self._images:
            seconds = now - self._begin
            left = (self._total - state.step) * seconds / (self._steps - 1)
            text += f", {self._images / seconds:.1f} images/s, {_duration(left)} left"
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        else:
            self.say(f"epoch {self._epoch} step {state.epoch_step}/{self._epoch_steps}: {text}")

    def end_epoch(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
