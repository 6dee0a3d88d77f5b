"""Trainer: optimizer steps one batch at a time, the learning-rate schedule, and the Polyak average."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.training import workers as distributed
from glow_tf.training.config import TrainConfig
from glow_tf.training.diagnosis import ROLLBACK_LR, DivergedError, describe
from glow_tf.training.optimizers import PolyakAverage, beta2_of, make_optimizer
from glow_tf.training.state import TrainState
from glow_tf.training.step import RESULTS, TrainStep

_PLACES = 2**40  # more images than any run sees; a rollback moves the noise on by as many


class Trainer:
    """Trains a Glow one batch at a time.

    The Polyak average starts from the weights as they are when the trainer is made; where the model
    is not initialized then, from the weights after its data-dependent initialisation.

    Args:
      glow: the model.
      config: a TrainConfig, or a dict of its fields.
      workers: who shares the work; default: whoever the launcher started, else this process alone.
    """

    def __init__(
        self,
        glow: Any,
        config: TrainConfig | Mapping[str, Any] | None = None,
        workers: distributed.Workers | None = None,
    ) -> None:
        if not isinstance(config, TrainConfig):
            config = TrainConfig.from_dict(config or {})
        self.glow, self.config = glow, config
        self.workers = workers or distributed.connect()
        self.state = TrainState()
        names = {v.ref(): name for name, v in glow.named_variables().items()}
        self.variables = {names[v.ref()]: v for v in glow.trainable_variables}
        self.optimizer = make_optimizer(
            config.optimizer, beta1=config.beta1, beta2=0.0, weight_decay=config.weight_decay
        )
        self.optimizer.initialize(self.variables)
        self._polyak = PolyakAverage(0.0, self.variables)
        self._step = TrainStep(glow, self.variables, self.optimizer, self._polyak, self.workers, config)
        self.rescale()
        self.is_averaged = False
        self._results: tf.Tensor | None = None
        self._recent: dict[int, tuple[Any, ...]] = {}  # step -> x, y, noise, context, place of the first image
        self._good: tuple[Any, ...] | None = None  # the last batch whose step succeeded
        self._probed = -1
        self._awaits_initialization = not glow.initialized

    def rescale(self) -> None:
        """Sets what depends on the number of workers: the steps of an epoch and the averaging times counted in them."""
        self.train_its = self.config.steps_per_epoch(self.workers.size)
        beta2 = beta2_of(self.train_its, self.config.polyak_epochs)
        self.optimizer.beta2 = self._polyak.decay = beta2
        self._step.retrace()

    def local_batch(self, n_batch: int) -> int:
        """Images of this model per worker for a batch size that is meant at the anchor size."""
        return self.config.local_batch(n_batch, self.glow.config)

    def total_steps(self) -> int:
        """Steps from the run's very beginning to its end, if no more workers come or go."""
        config, state = self.config, self.state
        if config.dry_run:
            return 1
        left = config.steps_left(state.epoch_step, state.n_processed - state.epoch_start, self.workers.size)
        steps = state.step + left + (config.epochs - state.epochs_done - 1) * self.train_its
        return min(steps, config.steps) if config.steps else steps

    def groups(self) -> dict[str, Mapping[str, tf.Variable]]:
        """Weights, moments and averages, by the names of a checkpoint's files."""
        return {
            "weights": self.glow.named_variables(),
            "optimizer": self.optimizer.slots,
            "average": self.average,
        }

    def saved_variables(self) -> list[tf.Variable]:
        """All the variables that a checkpoint holds."""
        return [variable for group in self.groups().values() for variable in group.values()]

    def resume_at(self, state: TrainState) -> None:
        """After other values were loaded into the variables: the run is where this state says."""
        self.state = state
        self._step.resume()
        self._recent, self._good, self._results, self._probed = {}, None, None, -1

    @property
    def average(self) -> dict[str, tf.Variable]:
        """The Polyak average of every trainable variable, by name."""
        return self._polyak.values

    @contextlib.contextmanager
    def averaged(self, *, use: bool = True) -> Iterator[None]:
        """Within this context the model has the averaged weights (with `use` False: its own).

        They are exchanged in place, so no second copy is held; do not train or save meanwhile.
        """
        if not use or self.is_averaged:
            yield
            return
        self._polyak.swap(self.variables)
        self.is_averaged = True
        try:
            yield
        finally:
            self._polyak.swap(self.variables)
            self.is_averaged = False

    def step(
        self, x: Any, y: Any = None, lr: float | None = None, noise: Any = None, context: Any = None
    ) -> dict[str, float]:
        """Takes one optimizer step and waits for its results.

        Args:
          x: uint8 [N, H, W, C], this worker's images; all workers have equally many.
          y: int [N], their classes.
          lr: learning rate; None: the schedule's.
          noise: dequantisation noise [N, H, W, C]; None: a function of the seed and of each image's place in
            the sequence of all images trained on, so that it does not depend on how many workers share them.
          context: [N, H, W, config.context_channels], for a model that has one; None where it is made of the images.

        Returns:
          loss, bits_x, bits_y, pred_error: means over all workers' batches, with the weights before
          the step; grad_norm: global norm of the averaged gradient before it is clipped; condition: the
          largest of a 1x1 convolution (see `condition_number`); recovery_error: between a level's input and what the
          backward pass recovered of it, the largest difference of any level, relative to the input's largest magnitude,
          the largest of the workers, 0 where it is kept; step_ok: 0 where the update was left out.

        Raises:
          DivergedError: a number is not finite, a 1x1 convolution close to singular, or an input not recovered (unless
            on_nan is skip). The weights are as before the step, on every worker; but where it was a gradient only that
            is not finite, or an input, and on_nan is not skip, levels behind the one at fault may have moved.
        """
        return self.read(self.dispatch(x, y, lr, noise, context))

    def dispatch(
        self,
        x: Any,
        y: Any = None,
        lr: float | None = None,
        noise: Any = None,
        context: Any = None,
        *,
        stop: bool = False,
        save: bool = False,
    ) -> tf.Tensor:
        """As `step`, without waiting for an accelerator; pass what it returns to `read`.

        Where a worker sets `stop` or `save`, `read` returns "stop" or "save" above 0 on all workers.
        """
        if self.is_averaged:
            raise RuntimeError("the model has the averaged weights; train outside `averaged()`")
        if self._awaits_initialization:
            self._awaits_initialization = False
            if self.glow.initialized and self.state.step == 0:  # later steps: restored, with its average
                self._polyak.reset(self.variables)
        if lr is None:
            lr = self.learning_rate
        x = tf.convert_to_tensor(x)
        y = None if y is None else tf.convert_to_tensor(y)
        noise = None if noise is None else tf.convert_to_tensor(noise)
        context = None if context is None else tf.convert_to_tensor(context)
        self._recent = {s: batch for s, batch in self._recent.items() if s >= self.state.step - 1}
        first = self.state.n_images + self.workers.rank * x.shape[0] + _PLACES * self.state.rollbacks
        self._recent[self.state.step] = (x, y, noise, context, first)
        self._results = self._run(self._recent[self.state.step], lr, (stop, save))
        self.state.step += 1
        self.state.n_processed += self.config.n_batch_train * self.workers.size
        self.state.n_images += x.shape[0] * self.workers.size
        return self._results

    def read(self, results: tf.Tensor) -> dict[str, float]:
        """The numbers of a step; waits until they are there. Raises DivergedError as `step`."""
        numbers = _numbers(results)
        if numbers["step_ok"]:
            self._good = self._recent.get(int(numbers["step"]), self._good)
        elif self.config.on_nan != "skip":
            raise DivergedError(describe(numbers), int(numbers["step"]))
        return numbers

    @property
    def learning_rate(self) -> float:
        """The schedule's, lowered by rollbacks."""
        return self.config.lr_at(self.state.n_processed) * ROLLBACK_LR**self.state.rollbacks

    def latest(self) -> dict[str, float]:
        """grad_norm, condition and recovery_error of the last step, as `step` has them; empty before any step."""
        if self._results is None:
            return {}
        numbers = _numbers(self._results)
        return {name: numbers[name] for name in ("grad_norm", "condition", "recovery_error")}

    def probe(self) -> None:
        """Checks that the next step would succeed, on images of one that did, without taking it.

        So what is saved after this is a state from which training can continue. Call it on all workers at once.

        Raises:
          DivergedError: it would fail.
        """
        if self._good is not None and self._probed != self.state.step:
            self._recent[self.state.step] = self._good
            numbers = _numbers(self._run(self._good, 0.0, (False, False), update=False))
            if not numbers["step_ok"]:
                raise DivergedError(describe(numbers), self.state.step)
            self._probed = self.state.step

    def batch_of(self, step: int) -> tuple[Any, Any, Any, Any] | None:
        """x, y, noise and context (None where there is none, or it is made of x) of one of the last two steps."""
        if step not in self._recent:
            return None
        x, y, noise, context, first = self._recent[step]
        return x, y, self._step.noise(x, first) if noise is None else noise, context

    def _run(self, batch: tuple[Any, ...], lr: float, requests: tuple[bool, bool], *, update: bool = True) -> tf.Tensor:
        *inputs, first = batch
        numbers = [tf.constant(first, tf.int64), tf.constant(self.state.step, tf.int64), tf.constant(lr, tf.float64)]
        try:
            return self._step.run(*inputs, *numbers, tf.constant(requests, tf.float64), tf.constant(update))
        except tf.errors.InvalidArgumentError as error:
            if "Cholesky decomposition" not in str(error):
                raise
            raise DivergedError("a 1x1 convolution is singular", self.state.step) from None


def _numbers(results: tf.Tensor) -> dict[str, float]:
    return dict(zip(RESULTS, np.asarray(results, np.float64).tolist(), strict=True))
