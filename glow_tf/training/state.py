"""Where a run is: the counters that a checkpoint carries beside weights, slots and average."""

from __future__ import annotations

import dataclasses
from typing import Any

_MOST = 2**53
METRICS = ("loss", "bits_x", "bits_y", "pred_error")


@dataclasses.dataclass
class TrainState:
    """Counters of a run.

    Attributes:
      step: optimizer steps taken.
      epoch_start: n_processed when the open epoch began.
      epochs_done: epochs closed, with their log lines and evaluations.
      epoch_step: steps taken in the epoch that is open.
      n_processed: images seen, counted at the anchor size: what the warm-up goes by.
      n_images: images seen in fact; also the position in the data.
      train_time: seconds spent in training steps.
      best_loss: lowest loss of a full validation, or None.
      epoch_sums: sums over the open epoch's steps of METRICS.
      skipped: steps whose update was left out (on_nan skip); they count as steps, and in epoch_step.
      epoch_skipped: those of the open epoch.
      skipped_in_a_row: those since the last one that was not.
      rollbacks: how often the run rolled back (on_nan rollback); each halved the learning rate.
    """

    step: int = 0
    epoch_start: int = 0
    epochs_done: int = 0
    epoch_step: int = 0
    n_processed: int = 0
    n_images: int = 0
    train_time: float = 0.0
    best_loss: float | None = None
    epoch_sums: list[float] = dataclasses.field(default_factory=lambda: [0.0] * len(METRICS))
    skipped: int = 0
    epoch_skipped: int = 0
    skipped_in_a_row: int = 0
    rollbacks: int = 0

    def skip(self) -> None:
        """Counts one step whose results count for nothing."""
        self.epoch_step += 1
        self.skipped += 1
        self.epoch_skipped += 1
        self.skipped_in_a_row += 1

    def add(self, metrics: dict[str, float]) -> None:
        """Counts one step's results towards the open epoch."""
        self.epoch_step += 1
        self.skipped_in_a_row = 0
        self.epoch_sums = [s + metrics[m] for s, m in zip(self.epoch_sums, METRICS, strict=True)]

    def epoch_means(self) -> dict[str, float]:
        """Mean results of the open epoch's steps."""
        count = max(1, self.epoch_step - self.epoch_skipped)
        return {m: s / count for m, s in zip(METRICS, self.epoch_sums, strict=True)}

    def close_epoch(self) -> None:
        """The epoch is logged, evaluated and drawn: the next begins."""
        self.epochs_done += 1
        self.epoch_start = self.n_processed
        self.epoch_step = self.epoch_skipped = 0
        self.epoch_sums = [0.0] * len(METRICS)

    def copy(self) -> TrainState:
        """The counters as they are now."""
        return dataclasses.replace(self, epoch_sums=[*self.epoch_sums])

    def to_dict(self) -> dict[str, Any]:
        """The counters as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainState:
        """The inverse of `to_dict`; missing counters are those of a new run, and epoch_start is computed.

        Raises:
          ValueError: a counter is unknown, or no number.
        """
        state = cls(**values)
        for field in dataclasses.fields(cls):
            value = getattr(state, field.name)
            if field.name == "epoch_sums":
                good = isinstance(value, list) and len(value) == len(METRICS) and all(map(_is_number, value))
            elif str(field.type) == "int":
                good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST
            else:
                good = _is_number(value) or (value is None and "None" in str(field.type))
            if not good:
                raise ValueError(f"{field.name} is {str(value)[:80]}")
        if "epoch_start" not in values and state.step:  # a checkpoint from before it was kept
            state.epoch_start = state.n_processed - state.n_processed // state.step * state.epoch_step
        return state


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
