"""What a run logs: train.txt and test.txt, TensorBoard, and its progress on the terminal."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data_loaders.cores import usable_cores
from data_loaders.progress import Progress, duration
from glow_tf.flow.memory import in_words
from glow_tf.storage.files import StorageError, append, write_text
from glow_tf.training.state import TrainState
from glow_tf.training.trainer import Trainer

_METRICS = {"loss": "loss", "bits_x": "bits_x", "bits_y": "bits_y", "pred_loss": "pred_error"}  # their names : ours
_COLUMNS = ("epoch", "n_processed", "n_images", "train_time", "skipped", *_METRICS, "recovery_error")


class ResultLog:
    """A file of JSON lines with the keys of OpenAI's code: hyper-parameters first, then one line a result.

    Its metrics are strings of four decimals, under the names loss, bits_x, bits_y and pred_loss (the classification
    error); both as there. Beside it is a .csv of the same results as numbers with all their digits.

    Args:
      path: the file.
      header: the hyper-parameters.
      resumed: where the run is resumed; lines of what it will do again are dropped. None: it is new.
      every: a resumed run also drops results of epochs that are no multiple of this: the test at the
        end of a run that is continued.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], resumed: TrainState | None, every: int = 1) -> None:
        self._path, self._table = path, path.with_suffix(".csv")
        self._waiting = {self._path: "", self._table: ""}
        lines = _lines_before(path, resumed, every) if resumed else []
        if not lines:
            lines = [json.dumps(dict(header)) + "\n"]
        rows = self._table.read_text().split("\n")[:-1] if self._table.exists() else []  # whole ones
        rows = [row + "," * (len(_COLUMNS) - 1 - row.count(",")) for row in rows]  # of a run of an earlier version
        short = [_row(json.loads(line)) for line in lines[1:]]  # a run of an earlier version has these only
        self._last = lines[-1]
        write_text(path, "".join(lines))
        exact = {_key(row): row for row in rows}
        write_text(self._table, "\n".join([",".join(_COLUMNS), *(exact.get(_key(row), row) for row in short), ""]))

    def log(self, metrics: Mapping[str, float], **counters: Any) -> None:
        """Appends a line, through to the disk: no checkpoint may be ahead of the log.

        Only the .csv has metrics that OpenAI's code did not.

        Raises:
          StorageError: it cannot be written now; `settle` tries again.
        """
        values = {name: metrics[metric] for name, metric in _METRICS.items()}
        line = json.dumps({**counters, **{name: f"{value:.4f}" for name, value in values.items()}}) + "\n"
        if line != self._last:  # a run that was stopped after its last checkpoint evaluates once more
            self._waiting[self._path] += line
            self._waiting[self._table] += _row({**metrics, **counters, **values}) + "\n"
            self._last = line
        self.settle()

    def settle(self) -> None:
        """Writes the lines that could not be written before. Raises StorageError as `log`."""
        for path, text in self._waiting.items():
            if text:
                append(path, text)
                self._waiting[path] = ""


def _row(entry: Mapping[str, Any]) -> str:
    return ",".join(str(entry.get(column, "")) for column in _COLUMNS)


def _key(row: str) -> tuple[str, ...]:
    return tuple(row.split(",")[:2])


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


class RunLogger:
    """train.txt, test.txt, TensorBoard and the terminal: of rank 0; on the other workers, nothing.

    Args:
      trainer: whose run.
      data_name: of its data set.
      resumed: the run is resumed from `trainer.state`.
    """

    def __init__(self, trainer: Trainer, data_name: str, *, resumed: bool) -> None:
        self._trainer, self._logdir = trainer, Path(trainer.config.logdir)
        self._chief = trainer.workers.is_chief
        self._total = total = trainer.total_steps()
        self._bar: Progress | None = None
        self._steps, self._images, self._begin = 0, 0, 0.0
        if self._chief:
            self._open_logs(trainer.state if resumed else None)
            self._board = TensorBoard(self._logdir / "events")
        weights = sum(math.prod(v.shape) for v in trainer.variables.values())
        batch = trainer.local_batch(trainer.config.n_batch_train)
        start = f"step {self._state.step}" if resumed else "the beginning"
        self.say(
            f"{data_name}: {weights:,} weights, {trainer.workers.size} worker(s) with {batch} images a step,"
            f" {trainer.train_its} steps an epoch; from {start} to step {total}; logs in {self._logdir}"
        )
        self.say(f"{_device()}; {trainer.config.precision}, memory {in_words(trainer.glow.memory)}")
        if self._state.step >= total:
            self.say("the run is complete; a larger --epochs or --steps would continue it")
        optimizer = trainer.optimizer
        if optimizer.beta2 < optimizer.beta1:
            self.say(
                f"warning: beta2 is {optimizer.beta2:.3g}, below beta1: a weight whose gradient vanishes for some steps"
                f" takes ever longer ones. Raise --polyak_epochs ({trainer.config.polyak_epochs} now)"
            )

    def say(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.say(line)
        elif self._chief:
            print(line, flush=True)

    def start_epoch(self, steps: int) -> None:
        """A new bar, for an epoch of so many steps, starting at where it is."""
        state, self._epoch_steps = self._state, steps
        self._bar = Progress(f"epoch {state.epochs_done + 1}", steps, "step", done=state.epoch_step, shown=self._chief)

    def took_step(self, metrics: Mapping[str, float], images: int) -> None:
        """Counts one step of so many images."""
        state, now = self._state, time.monotonic()
        self._steps += 1
        if self._steps == 1:  # it traces the model, and says nothing about the speed
            self._begin = now
            where = f"epoch {state.epochs_done + 1} step {state.epoch_step}/{self._epoch_steps}"
            self.say(f"{where}: bits/dim {metrics['bits_x']:.3f}")
        else:
            self._images += images
        seconds = now - self._begin

        def remark() -> str:
            text = f"bits/dim {metrics['bits_x']:.3f} (epoch {state.epoch_means()['bits_x']:.3f})"
            if self._images:
                left = (self._total - state.step) * seconds / (self._steps - 1)
                text += f", {self._images / seconds:.1f} images/s, {duration(left)} to the end"
            return text

        if self._bar is not None:
            self._bar.update(1, remark)

    def end_epoch(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @property
    def _state(self) -> TrainState:
        return self._trainer.state

    def rewind(self) -> None:
        """After a rollback to `trainer.state`: drops the lines of what the run will do again."""
        if self._chief:
            self._open_logs(self._state)

    def _open_logs(self, state: TrainState | None) -> None:
        trainer, config = self._trainer, self._trainer.config
        header = {
            **config.to_dict(),
            **trainer.glow.config.to_dict(),
            "train_its": trainer.train_its,
            "local_batch_train": trainer.local_batch(config.n_batch_train),
            "local_batch_test": trainer.local_batch(config.n_batch_test),
            "n_workers": trainer.workers.size,
        }
        self._train = ResultLog(self._logdir / "train.txt", header, state)
        self._test = ResultLog(self._logdir / "test.txt", header, state, config.epochs_full_valid)

    def trained(self, epoch: int) -> None:
        """The open epoch's mean results."""
        self.end_epoch()
        if self._chief:
            state, means = self._state, self._state.epoch_means()
            counters = {**self._counters(epoch), "train_time": int(state.train_time)}
            if state.epoch_skipped:
                counters["skipped"] = state.epoch_skipped
            self.trying(lambda: self._train.log({**means, **self._trainer.latest()}, **counters))
            values = {"lr": self._trainer.learning_rate, "skipped": state.skipped, "rollbacks": state.rollbacks}
            values = {**means, **values, **self._trainer.latest()}
            self.trying(lambda: self._board.scalars(values, state.step, "train"))
            self.trying(lambda: self._board.actnorm_scales(self._trainer.glow.named_variables(), state.step))
            self.say(f"epoch {epoch}: train bits/dim {means['bits_x']:.4f}, {state.train_time:.0f} s")

    def tested(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """The results over the test set."""
        if self._chief:
            self.trying(lambda: self._test.log(metrics, **self._counters(epoch)))
            self.trying(lambda: self._board.scalars(metrics, self._state.step, "test"))
            self.say(f"epoch {epoch}: test bits/dim {metrics['bits_x']:.4f}")

    def drawn(self, pictures: Mapping[Path, np.ndarray]) -> None:
        """The sample grids, for TensorBoard."""
        for path, picture in pictures.items():
            self._board.image(f"samples/{path.stem.rsplit('_', 1)[1]}", picture, self._state.step)
        self._board.flush()

    def flush(self) -> None:
        """Writes what is waiting for TensorBoard."""
        if self._chief:
            self.trying(self._board.flush)

    def end(self, test: Mapping[str, float], samples: Path | None) -> None:
        """What came of the run, and what to do with it."""
        config, logdir = self._trainer.config, self._logdir
        which = "the Polyak average" if config.polyak else "the last weights"
        self.say(
            f"test bits/dim {test['bits_x']:.4f} with {which} after {self._state.step} steps;"
            f" samples: {samples}; model: {logdir / 'model'}"
        )
        self.say(f"next: python -m glow_tf sample {logdir} --out samples.png; tensorboard --logdir {logdir}")

    def settle(self) -> None:
        """Writes log lines that could not be written before.

        Raises:
          StorageError: they still cannot.
        """
        self._train.settle()
        self._test.settle()

    def trying(self, write: Callable[[], None]) -> None:
        """Writes what the training does not depend on, or says why that failed."""
        try:
            write()
        except StorageError as error:
            self.say(f"warning: {error}; the training continues")

    def _counters(self, epoch: int) -> dict[str, int]:
        return {"epoch": epoch, "n_processed": self._state.n_processed, "n_images": self._state.n_images}


def _device() -> str:
    """What this process computes on."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return f"on {usable_cores()} CPU core(s)"
    names = {tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus}
    return f"on {len(gpus)} {' and '.join(sorted(names))}"
