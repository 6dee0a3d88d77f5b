"""Trainer: one optimizer step, the learning-rate schedule, and the Polyak average."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.layers.invertible_conv import SINGULAR
from glow_tf.training import distributed
from glow_tf.training.config import TrainConfig
from glow_tf.training.health import LOWER, DivergedError, describe
from glow_tf.training.noise import TRAINING, noise_at
from glow_tf.training.optimizers import beta2_of, make_optimizer
from glow_tf.training.polyak import PolyakAverage
from glow_tf.training.state import METRICS, TrainState
from glow_tf.training.update import Update

_RESULTS = (*METRICS, "stop", "save", "condition", "grad_norm", "fine", "step")  # of a step
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
        self._update = Update(self.variables, self.optimizer, self._polyak, self.workers, config)
        self.rescale()
        self._evaluate_function = tf.function(self._evaluate, autograph=False)
        self.is_averaged = False
        self._results: tf.Tensor | None = None
        # Set by a step that must not be trusted, where it ends or rolls back the run: nothing is updated from then on.
        self._halted = tf.Variable(initial_value=False, trainable=False, name="halted")
        self._recent: dict[int, tuple[Any, Any, Any, int]] = {}  # step -> x, y, noise, place of the first image
        self._good: tuple[Any, Any, Any, int] | None = None  # the last batch that was fine
        self._probed = -1
        self._awaits_initialization = not glow.initialized

    def rescale(self) -> None:
        """Sets what depends on the number of workers: the steps of an epoch and the averaging times counted in them."""
        self.train_its = self.config.steps_per_epoch(self.workers.size)
        beta2 = beta2_of(self.train_its, self.config.polyak_epochs)
        self.optimizer.beta2 = self._polyak.decay = beta2
        self._step_function = tf.function(self._train_step, autograph=False)  # these are constants in it

    def kept_variables(self) -> list[tf.Variable]:
        """Weights, moments and averages: all the variables that a checkpoint holds."""
        groups = (self.glow.named_variables(), self.optimizer.slots, self.average)
        return [variable for group in groups for variable in group.values()]

    @property
    def average(self) -> dict[str, tf.Variable]:
        """The Polyak average of every trainable variable, by name."""
        return self._polyak.values

    def restart_average(self) -> None:
        """Starts the Polyak average anew from the weights as they are."""
        self._polyak.reset(self.variables)

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

    def step(self, x: Any, y: Any = None, lr: float | None = None, noise: Any = None) -> dict[str, float]:
        """Takes one optimizer step and waits for its results.

        Args:
          x: uint8 [N, H, W, C], this worker's images; all workers have equally many.
          y: int [N], their classes.
          lr: learning rate; None: the schedule's.
          noise: dequantisation noise [N, H, W, C]; None: a function of the seed and of each image's place in
            the sequence of all images trained on, so that it does not depend on how many workers share them.

        Returns:
          loss, bits_x, bits_y, pred_error: means over all workers' batches, with the weights before
          the step; grad_norm: global norm of the averaged gradient before it is clipped; condition: the
          largest of a 1x1 convolution (see `condition_number`); fine: 0 where the update was left out.

        Raises:
          DivergedError: a number is not finite, or a 1x1 convolution close to singular (unless on_nan is
            skip). The weights are as before the step, on every worker; but where it was a gradient only that is
            not finite, and on_nan is not skip, levels behind the one at fault may have moved.
        """
        return self.read(self.dispatch(x, y, lr, noise))

    def dispatch(
        self,
        x: Any,
        y: Any = None,
        lr: float | None = None,
        noise: Any = None,
        *,
        stop: bool = False,
        save: bool = False,
    ) -> tf.Tensor:
        """As `step`, without waiting for an accelerator; pass what it returns to `read`.

        Where a worker has set `stop` or `save`, `read` returns "stop" or "save" above 0 on all.
        """
        if self.is_averaged:
            raise RuntimeError("the model has the averaged weights; train outside `averaged()`")
        if self._awaits_initialization:
            self._awaits_initialization = False
            if self.glow.initialized and self.state.step == 0:  # later steps: restored, with its average
                self.restart_average()
        if lr is None:
            lr = self.learning_rate
        x = tf.convert_to_tensor(x)
        y = None if y is None else tf.convert_to_tensor(y)
        noise = None if noise is None else tf.convert_to_tensor(noise)
        self._recent = {s: batch for s, batch in self._recent.items() if s >= self.state.step - 1}
        first = self.state.n_images + self.workers.rank * x.shape[0] + _PLACES * self.state.rollbacks
        self._recent[self.state.step] = (x, y, noise, first)
        results = self._run(self._recent[self.state.step], lr, tf.constant([stop, save], tf.float64))
        self._results = results
        self.state.step += 1
        self.state.n_processed += self.config.n_batch_train * self.workers.size
        self.state.n_images += x.shape[0] * self.workers.size
        return results

    def read(self, results: tf.Tensor) -> dict[str, float]:
        """The numbers of a step; waits until they are there. Raises DivergedError as `step`."""
        numbers = _numbers(results)
        if numbers["fine"]:
            self._good = self._recent.get(int(numbers["step"]), self._good)
        elif self.config.on_nan != "skip":
            raise DivergedError(describe(numbers), int(numbers["step"]))
        return numbers

    @property
    def learning_rate(self) -> float:
        """The schedule's, lower by what rollbacks took off."""
        return self.config.lr_at(self.state.n_processed) * LOWER**self.state.rollbacks

    def latest(self) -> dict[str, float]:
        """grad_norm and condition of the last step, as `step` has them; empty before any step."""
        if self._results is None:
            return {}
        numbers = _numbers(self._results)
        return {name: numbers[name] for name in ("grad_norm", "condition")}

    @property
    def gradient_norm(self) -> float | None:
        """Global norm of the last step's averaged gradient, before its update; None before any step."""
        return self.latest().get("grad_norm")

    def probe(self) -> None:
        """Looks whether the next step would be fine, on images of one that was, without taking it.

        What is saved after this leads nowhere bad at once. Call it on all workers at once.

        Raises:
          DivergedError: it would not.
        """
        if self._good is not None and self._probed != self.state.step:
            self._recent[self.state.step] = self._good
            numbers = _numbers(self._run(self._good, 0.0, tf.zeros([2], tf.float64), update=False))
            if not numbers["fine"]:
                raise DivergedError(describe(numbers), self.state.step)
            self._probed = self.state.step

    def batch_of(self, step: int) -> tuple[Any, Any, Any] | None:
        """x, y and noise of one of the last two steps."""
        if step not in self._recent:
            return None
        x, y, noise, first = self._recent[step]
        return x, y, self._noise(x, first) if noise is None else noise

    def forget_steps(self) -> None:
        """After other weights were loaded: steps count again, whatever went wrong before."""
        self._halted.assign(value=False)
        self._recent, self._good, self._results, self._probed = {}, None, None, -1

    def evaluate(self, x: Any, y: Any = None, noise: Any = None) -> tf.Tensor:
        """The four metrics of every image, [N, 4], with the model's weights as they are."""
        return self._evaluate_function(x, y, noise)

    def _evaluate(self, x: tf.Tensor, y: tf.Tensor | None, noise: tf.Tensor | None) -> tf.Tensor:
        losses = self.glow.losses(x, y, noise, memory="reversible")  # no gradient: nothing is worth keeping
        return tf.stack([losses[metric] for metric in METRICS], axis=1)

    def _run(self, batch: tuple[Any, ...], lr: float, wishes: tf.Tensor, *, update: bool = True) -> tf.Tensor:
        """The results of one step, as a tensor."""
        x, y, noise, first = batch
        numbers = [tf.constant(first, tf.int64), tf.constant(self.state.step, tf.int64), tf.constant(lr, tf.float64)]
        try:
            return self._step_function(x, y, noise, *numbers, wishes, tf.constant(update))
        except tf.errors.InvalidArgumentError as error:
            if "Cholesky decomposition" not in str(error):
                raise
            raise DivergedError("a 1x1 convolution is singular", self.state.step) from None

    def _train_step(
        self,
        x: tf.Tensor,
        y: tf.Tensor | None,
        noise: tf.Tensor | None,
        first: tf.Tensor,
        step: tf.Tensor,
        lr: tf.Tensor,
        wishes: tf.Tensor,
        update: tf.Tensor,
    ) -> tf.Tensor:
        variables = list(self.variables.values())
        if noise is None:
            noise = self._noise(x, first)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            losses, encoding = self.glow.losses_of(x, y, noise, self.glow.memory)
            loss = tf.reduce_mean(losses["loss"])
        # Every number that decides is averaged over the workers, or of averages, so they all decide the same.
        means = [tf.cast(tf.reduce_mean(losses[metric]), tf.float64) for metric in METRICS]
        means = self.workers.mean(tf.concat([means, wishes, [encoding.condition]], 0), "metrics")
        local = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients, squares = self._update.share(local)
        finite = tf.reduce_all(tf.math.is_finite(means)) & (means[-1] < SINGULAR)
        norm = self._update.apply(gradients, squares, lr, finite & update & ~self._halted.read_value())
        fine = finite & tf.math.is_finite(norm)
        if self.config.on_nan != "skip":
            self._halted.assign(self._halted | (update & ~fine))
        return tf.concat([means, [norm, tf.cast(fine, tf.float64), tf.cast(step, tf.float64)]], axis=0)

    def _noise(self, x: tf.Tensor, first: tf.Tensor | int) -> tf.Tensor:
        glow, seed = self.glow, self.config.seed
        return noise_at(glow.config, first, x.shape[0], seed=seed, stream=TRAINING, dtype=glow.dtype)


def _numbers(results: tf.Tensor) -> dict[str, float]:
    return dict(zip(_RESULTS, np.asarray(results, np.float64).tolist(), strict=True))
