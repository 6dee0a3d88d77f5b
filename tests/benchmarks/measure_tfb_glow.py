"""One model's training, measured: `python -m tests.benchmarks.measure_tfb_glow '{"model": "tfb", ...}'`.

Prints one line of JSON. bench_tfb_glow.py runs it for tfp.bijectors.Glow and for glow_tf.

tfp.bijectors.Glow gets networks like its default ones (3x3, 1x1, zero-initialised 3x3) of glow_tf's width, but without
Keras 2, and actnorm, with its data-dependent initialisation. Both models are trained through the log_prob of a
TransformedDistribution in a tf.function, by the same optimizer on the same batches with the same noise.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import data_loaders
import glow_tf
from glow_tf.flow.quantization import quantization_log_prob, to_bits_per_dim
from glow_tf.runtime import keep_freed_memory
from tests.benchmarks.measure import peak_memory

tfb, tfd = tfp.bijectors, tfp.distributions


class Network(tf.Module):
    """conv 3x3, relu, conv 1x1, relu, conv 3x3 that starts at zero: what tfb.GlowDefaultNetwork is, without Keras.

    Args:
      inputs: channels in.
      outputs: channels out.
      width: hidden channels; 0 for one convolution alone, what tfb.GlowDefaultExitNetwork is.
    """

    def __init__(self, inputs: int, outputs: int, width: int, seed: int):
        super().__init__()
        shapes = [[3, 3, inputs, width], [1, 1, width, width], [3, 3, width, outputs]] if width else []
        shapes = shapes or [[3, 3, inputs, outputs]]
        self.kernels = [
            tf.Variable(np.sqrt(2 / np.prod(s[:3])) * tf.random.stateless_normal(s, [seed, i]))
            for i, s in enumerate(shapes[:-1])
        ]
        self.kernels.append(tf.Variable(tf.zeros(shapes[-1])))
        self.biases = [tf.Variable(tf.zeros(s[-1:])) for s in shapes]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            x = tf.nn.conv2d(tf.nn.relu(x) if i else x, kernel, 1, "SAME") + bias
        return x


def tfb_glow(config: glow_tf.GlowConfig) -> Any:
    """tfp.bijectors.Glow of the same levels, steps and widths, affine, with a standard normal base."""
    seeds = iter(range(100_000))

    def coupling(input_shape: Any) -> Network:
        return Network(input_shape[-1], 2 * input_shape[-1], config.width, next(seeds))

    def leave(input_shape: Any, output_chan: int) -> Network:
        return Network(input_shape[-1], 2 * output_chan, 0, next(seeds))

    flow = tfb.Glow(
        output_shape=config.image_shape,
        num_glow_blocks=config.n_levels,
        num_steps_per_block=config.depth,
        coupling_bijector_fn=coupling,
        exit_bijector_fn=leave,
        use_actnorm=True,
        seed=0,
    )
    return tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), config.dimensions), flow)


def build(task: dict[str, Any], config: glow_tf.GlowConfig, first: np.ndarray, noise: np.ndarray) -> Any:
    """The model as a distribution over continuous images, initialised on the first batch."""
    if task["model"] == "glow_tf":
        glow = glow_tf.Glow(config, memory=task["memory"])
        glow.initialize(first, noise=noise)
        return glow_tf.bijectors.GlowDistribution(glow)
    distribution = tfb_glow(config)
    distribution.log_prob(continuous(config, first, noise))  # initialises its actnorms
    return distribution


def continuous(config: glow_tf.GlowConfig, x: np.ndarray, noise: np.ndarray) -> tf.Tensor:
    """uint8 images and noise as floats in [-1/2, 1/2)."""
    return tf.constant(x.astype(np.float32) / config.n_bins - 0.5 + noise)


def images(task: dict[str, Any]) -> tuple[list[np.ndarray], np.ndarray]:
    """(batches of training images, up to 200 held-out images)."""
    options = {"data_dir": task["data_dir"]} if task["data_dir"] else {}
    data = data_loaders.load(task["problem"], **options)
    batches = [np.asarray(x) for x, _ in data.train_batches(task["batch"], seed=0).take(task["steps"] + 1)]
    held_out = np.asarray(next(iter(data.batches_in_order("test", min(200, data.n_test))))[0])
    return batches, held_out


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """The figures of one task."""
    keep_freed_memory()
    batches, held_out = images(task)
    height, width, channels = held_out.shape[1:]
    config = glow_tf.GlowConfig(
        image_size=(height, width),
        channels=channels,
        n_levels=task["levels"],
        depth=task["depth"],
        width=task["width"],
        flow_coupling="affine",
        learntop=False,  # tfp.bijectors.Glow has no prior of its own
    )
    rng = np.random.default_rng(0)

    def noise_for(x: np.ndarray) -> np.ndarray:
        return rng.random(x.shape, np.float32) / config.n_bins

    test = continuous(config, held_out, noise_for(held_out))
    distribution = build(task, config, batches[0], noise_for(batches[0]))
    variables = distribution.trainable_variables
    optimizer = tf.keras.optimizers.Adam(task["lr"])
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(bits_per_dim(distribution, config, x))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    evaluate = tf.function(lambda x: tf.reduce_mean(bits_per_dim(distribution, config, x)), autograph=False)
    before = float(evaluate(test))
    seconds = [_seconds(step, continuous(config, x, noise_for(x))) for x in batches[1:]]
    return {
        **task,
        "seconds": statistics.median(seconds[1:]),
        "seconds_range": [min(seconds[1:]), max(seconds[1:])],
        "images_per_second": task["batch"] / statistics.median(seconds[1:]),
        "first_step_seconds": seconds[0],
        "peak_memory_mb": peak_memory(tf, "cpu"),
        "million_weights": sum(int(np.prod(v.shape)) for v in variables) / 1e6,
        "bits_per_dim_before": before,
        "bits_per_dim_after": float(evaluate(test)),
        "n_held_out": len(held_out),
    }


def bits_per_dim(distribution: Any, config: glow_tf.GlowConfig, x: tf.Tensor) -> tf.Tensor:
    """Bits per subpixel of the discrete image, [N], from the density of the continuous image x."""
    return to_bits_per_dim(config, distribution.log_prob(x) + quantization_log_prob(config))


def _seconds(step: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> float:
    start = time.perf_counter()
    step(x).numpy()
    return time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
