"""How many bytes a training step takes, and what to keep of its steps within a budget. No TensorFlow here.

The peak is the largest of these moments, beside what the process holds anyway:

  the backward pass of level i   weights, moments and average; what levels 0 to i keep; the temporaries of one step of
                                 level i; gradients of level i, twice while they are stacked, and of the level after it,
                                 or of all levels after it where an update has to wait for the whole gradient
  initialisation                 weights and the temporaries of one step, of a larger batch
  evaluation                     weights, moments and average, and one step's temporaries without a gradient

What is worth keeping is ordered by the work that it saves per byte. The order is the same whatever the budget, so more
memory never means more work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from glow_tf.config import GlowConfig
from glow_tf.flow.memory import EVERYTHING, Memory, Segment, of_level, segments_for

_FLOPS_PER_BYTE = 20  # floating-point operations in the time that a byte takes from or to memory, on CPUs and GPUs
_OF_LEVEL = 85 * 2**20  # what a level's graphs, kernels and constants add to the process: up to 75 MiB were seen
_OF_XLA = 20 * 2**20  # a level's programs, and what compiling them leaves: up to 16 MiB were seen beyond the rest
_HOLES = 1.1  # the allocator's regions against what is allocated in them: 1.1 was seen
_TAPS = 9
_OF_ENCODER = 50  # numbers a pixel that the context's convolutions keep for each of their features


@dataclasses.dataclass(frozen=True)
class Demand:
    """What a model's training step takes.

    Attributes:
      config: the model.
      batch: images of a step.
      precision: of Glow.
      held: bytes that the process holds for other things than tensors.
      initial_batch: images of the data-dependent initialisation.
      test_batch: images of an evaluation.
      waits: an update waits for the whole gradient: clipping, on_nan skip, several workers.
      on_gpu: it does there too, and the networks' weights are folded once for the two passes.
      whole_run: the process evaluates and samples too, and copies its weights into checkpoints.
      jit: XLA compiles the loops.
      copies: of all weights that are trained, themselves, two moments and the average.
    """

    config: GlowConfig
    batch: int
    precision: str = "float32"
    held: int = 0
    initial_batch: int = 0
    test_batch: int = 0
    waits: bool = False
    on_gpu: bool = False
    whole_run: bool = False
    jit: bool = False
    copies: int = 4

    def peak(self, memory: Memory) -> int:
        """Bytes at the peak of a run that keeps this."""
        levels = range(self.config.n_levels)
        trained, others = [self._trained(i) for i in levels], self._others()
        kept, moments = 0, []
        for i in levels:
            kept += self._kept(i, memory)
            after = trained[i + 1 :] if self.waits or self.on_gpu else trained[i + 1 : i + 2]
            gradients = 2 * trained[i] + sum(after) + others
            moments.append(kept + self._temporaries(i, self.batch) + self._size * gradients)
        evaluation = max(self._temporaries(i, self.test_batch, backward=False) for i in levels)
        initialisation = max(self._temporaries(i, self.initial_batch, backward=False) for i in levels)
        once = self.weights - (self.copies - 1) * self._size * (sum(trained) + others)
        tensors = max(self.weights + max(*moments, evaluation), once + initialisation)
        beside = self.held + self.config.n_levels * (_OF_LEVEL + _OF_XLA * self.jit)
        if self.whole_run:  # as many graphs again, and the largest variable once as an array and once as bytes
            largest = max(self.config.depth * _TAPS * (self.config.width + 1) * self._outputs(i) for i in levels)
            beside += self.config.n_levels * _OF_LEVEL + 2 * largest * self._size
        return int(beside + _HOLES * tensors)

    @property
    def weights(self) -> int:
        """Bytes of all weights, of their moments and of their average."""
        levels = range(self.config.n_levels)
        trained = sum(self._trained(i) for i in levels) + self._others()
        return self._size * (self.copies * trained + sum(self._fixed(i) for i in levels))

    def with_batch(self, batch: int) -> Demand:
        """As many images in a step, and no more at any other time."""
        initial, test = min(self.initial_batch, batch), min(self.test_batch, batch)
        return dataclasses.replace(self, batch=batch, initial_batch=initial, test_batch=test)

    def within(self, budget: int) -> tuple[tuple[Segment, ...], ...]:
        """What to keep so that the peak is within the budget: most work saved per byte first; nothing if nothing fits.

        Every step of a level keeps the first of its fields in that order, and the last few steps one more.
        """
        levels, depth = range(self.config.n_levels), self.config.depth
        plan: list[Sequence[Segment]] = [[Segment(depth, ())] for _ in levels]
        full = set(levels)  # those whose steps all keep the same so far
        fields = [(self.work(i, name) / self.bytes_of(i, name), -i, name) for i in levels for name in EVERYTHING]
        for _, minus_level, name in sorted(fields, reverse=True):
            if (i := -minus_level) in full:
                more = [[*plan[:i], _with(plan[i][0], name, n), *plan[i + 1 :]] for n in range(depth, 0, -1)]
                plan = next((other for other in more if self.peak(other) <= budget), plan)
                if name not in plan[i][0].keep:
                    full.remove(i)
        return tuple(map(tuple, plan))

    def bytes_of(self, level: int, name: str) -> int:
        """Bytes of one field of Kept of one step."""
        _, _, channels = self.config.level_shape(level)
        columns = {"start": channels, "h": self._outputs(level), "windows": self._inputs(level)}.get(
            name, self.config.width
        )
        size = self._network_size if name in ("windows", "hidden_1", "hidden_2") else self._size
        return self._pixels(level, self.batch) * columns * size

    def work(self, level: int, name: str) -> int:
        """The work that is saved by keeping one field of one step, in floating-point operations."""
        width, moved = self.config.width, self.bytes_of(level, name)
        products = {
            "hidden_1": self._inputs(level) * width,
            "hidden_2": width**2,
            "h": _TAPS * self._outputs(level) * width,
        }
        return 2 * products.get(name, 0) * self._pixels(level, self.batch) + _FLOPS_PER_BYTE * moved

    def saved(self, memory: Memory) -> int:
        """All the work that is saved."""
        levels = range(self.config.n_levels)
        return sum(n * self.work(i, name) for i in levels for n, keep in self._segments(i, memory) for name in keep)

    # Sizes

    @property
    def _size(self) -> int:
        return 8 if self.precision == "float64" else 4

    @property
    def _network_size(self) -> int:
        return 2 if self.precision == "bfloat16" else self._size

    def _pixels(self, level: int, batch: int) -> int:
        height, width, _ = self.config.level_shape(level)
        return batch * height * width

    def _inputs(self, level: int) -> int:
        """Columns of the first product of a coupling network: windows, the context, the edge indicator's."""
        return _TAPS * (self.config.level_shape(level)[2] // 2) + self.config.context_features + _TAPS

    def _outputs(self, level: int) -> int:
        channels = self.config.level_shape(level)[2]
        return channels if self.config.flow_coupling == "affine" else channels // 2

    def _segments(self, level: int, memory: Memory) -> Sequence[Segment]:
        return segments_for(of_level(memory, level), self.config.depth)

    def _kept(self, level: int, memory: Memory) -> int:
        """Bytes of a level from its forward to its backward pass: its steps', its two ends, the split behind it."""
        channels, size = self.config.level_shape(level)[2], self._size
        steps = sum(n * self.bytes_of(level, name) for n, keep in self._segments(level, memory) for name in keep)
        images = self._pixels(level, self.batch) * (self._inputs(level) + 4 * channels) * size
        matrices = 2 * self.config.depth * channels**2 * (size + 12)  # and inverses, and what float64 needed for them
        images += self._pixels(level, self.batch) * _OF_ENCODER * self.config.context_features * size
        return steps + images + matrices + self._trained(level) * size * self.on_gpu

    def _temporaries(self, level: int, batch: int, *, backward: bool = True) -> int:
        """Bytes of one step's tensors beside those that are kept, with a gradient or without."""
        taps, channels = _TAPS * self._outputs(level), self.config.level_shape(level)[2]
        network = (2 if backward else 1) * (self._inputs(level) + taps) + (4 if backward else 3) * self.config.width
        weights = 6 if backward else 1
        images = self._pixels(level, batch) * (network * self._network_size + 10 * channels * self._size)
        return images + weights * self._trained(level) // self.config.depth * self._size

    def _trained(self, level: int) -> int:
        """Trained weights of a level."""
        channels, width, outputs = self.config.level_shape(level)[2], self.config.width, self._outputs(level)
        mixing = {"reverse": 0, "shuffle": 0, "invconv": channels**2}[str(self.config.flow_permutation)]
        if self.config.lu_decomposed:
            mixing = 2 * channels**2 + channels
        first = (_TAPS * (channels // 2 + 1) + self.config.context_features) * width
        last = _TAPS * (width + 1) * outputs
        return self.config.depth * (2 * channels + mixing + first + width**2 + last + 4 * width + 2 * outputs)

    def _fixed(self, level: int) -> int:
        """Weights of a level that are not trained."""
        channels = self.config.level_shape(level)[2]
        per_step = channels**2 + channels if self.config.lu_decomposed else 0
        return self.config.depth * (channels if self.config.flow_permutation == "shuffle" else per_step)

    def _others(self) -> int:
        """Trained weights outside of the levels: splits, the top prior, the classifier, the context's encoder."""
        config, features = self.config, self.config.context_features
        channels = [config.level_shape(i)[2] for i in range(config.n_levels)]
        splits = sum(_TAPS * (c // 2 + features + 1) * c + 2 * c for c in channels[:-1])
        top = 2 * channels[-1]
        prior = (_TAPS * (top + 1) * top + 2 * top) * config.learntop + (config.n_y + 2) * top * config.ycond
        if features:
            prior += _TAPS * (features + 1) * top + 2 * top
            inputs = [4 * config.context_channels, *[4 * features] * (config.n_levels - 1)]
            prior += sum((_TAPS * (c + features + 2) + 2) * features for c in inputs)
            prior += config.n_y * config.context_channels * (config.context == "label")
        return splits + prior + (channels[-1] + 2) * config.n_y * config.has_classifier


def _with(segment: Segment, name: str, n: int) -> list[Segment]:
    """The last n steps of a segment keep one field more."""
    after = tuple(field for field in EVERYTHING if field in (*segment.keep, name))
    parts = [Segment(segment.depth - n, segment.keep), Segment(n, after)]
    return [part for part in parts if part.depth]
