"""Inpainting and denoising held-out digits under a trained Glow prior, by Hamiltonian Monte Carlo over the latents.

    python -m glow_tf.examples.inpainting --model runs/digits --out inpainting.png

The model gives the prior of an image x; x is seen with noise, and where pixels are missing not at all. In the latents
the prior is a standard normal and the posterior is smooth, so tfp.mcmc walks there:

    eps ~ N(0, 1),    x = bijector.forward(eps),    seen[known] ~ N(x[known], noise)

The picture has a row of: the images, what was seen of them, the posterior mean, and three posterior draws.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import data_loaders
from glow_tf.bijectors import GlowDistribution
from glow_tf.commands.arguments import MAX_SEED, check_out, whole_number
from glow_tf.commands.folders import find_model
from glow_tf.commands.models import open_model
from glow_tf.commands.outputs import write_raster
from glow_tf.flow.quantization import middle_of_bins, to_continuous, to_uint8
from glow_tf.model import Glow

NOISE = {"inpainting": 0.03, "denoising": 0.2}  # standard deviations; black is -1/2 and white 1/2


class Seen(NamedTuple):
    """What is known of n images: values [n, H, W, C], known 0 or 1 [n, H, W, C], and the noise's standard deviation."""

    values: tf.Tensor
    known: tf.Tensor
    noise: float


def degrade(x: tf.Tensor, task: str, seed: int) -> Seen:
    """Adds noise to continuous images x [n, H, W, C], and for "inpainting" hides the right half of each."""
    noise = NOISE[task]
    values = x + noise * tf.random.stateless_normal(tf.shape(x), [seed, 0], dtype=x.dtype)
    known = np.ones(x.shape, x.dtype.as_numpy_dtype)
    if task == "inpainting":
        known[:, :, x.shape[2] // 2 :] = 0
    return Seen(values, tf.constant(known), noise)


def sample_posterior(
    distribution: GlowDistribution, seen: Seen, *, chains: int, burn_in: int, draws: int, seed: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Posterior images [draws, chains, n, H, W, C] of n seen images, and the share of steps that were accepted [].

    Every image has chains of its own, which start near the middle of the prior.

    Args:
      distribution: the prior; its batch shape is [] or [n].
      seen: the images.
      chains: for each image.
      burn_in: steps that adapt the step size, and are dropped.
      draws: steps that are kept.
      seed: everything is a function of it.
    """
    bijector, prior = distribution.bijector, distribution.distribution

    def log_posterior(eps: tf.Tensor) -> tf.Tensor:
        x = bijector.forward(eps)
        log_likelihood = seen.known * tfp.distributions.Normal(x, seen.noise).log_prob(seen.values)
        return prior.log_prob(eps) + tf.reduce_sum(log_likelihood, [-3, -2, -1])

    hmc = tfp.mcmc.HamiltonianMonteCarlo(log_posterior, step_size=0.05, num_leapfrog_steps=6)
    kernel = tfp.mcmc.SimpleStepSizeAdaptation(hmc, num_adaptation_steps=int(0.8 * burn_in), target_accept_prob=0.75)
    shape = [chains, seen.values.shape[0], distribution.model.config.dimensions]
    start = 0.1 * tf.random.stateless_normal(shape, [seed, 1], dtype=distribution.dtype)

    @tf.function(autograph=False)
    def run() -> tuple[tf.Tensor, tf.Tensor]:
        eps, accepted = tfp.mcmc.sample_chain(
            draws,
            start,
            kernel=kernel,
            num_burnin_steps=burn_in,
            trace_fn=lambda _, results: results.inner_results.is_accepted,
            seed=[seed, 2],
        )
        return bijector.forward(eps), tf.reduce_mean(tf.cast(accepted, tf.float32))

    return run()


def held_out_digits(glow: Glow, numbers: list[int]) -> tuple[tf.Tensor, np.ndarray]:
    """(the test images of these numbers as continuous images [n, H, W, C], in the middle of their bins; labels [n]).

    Raises:
      ValueError: the model is not for digits, or there is no such image.
    """
    data = data_loaders.load("digits")
    if glow.config.image_shape != data.image_shape:
        raise ValueError(f"the model is for images {glow.config.image_shape}, and digits are {data.image_shape}")
    if not all(0 <= number < data.n_test for number in numbers):
        raise ValueError(f"digits has the test images 0 to {data.n_test - 1}")
    images, labels = next(iter(data.batches_in_order("test", data.n_test)))
    chosen = tf.gather(images, numbers)
    x = to_continuous(glow.config, chosen, middle_of_bins(glow.config, chosen, glow.dtype), glow.dtype)
    return x, np.asarray(labels)[numbers]


def restore(
    glow: Glow, x: tf.Tensor, labels: np.ndarray, task: str, *, chains: int, burn_in: int, draws: int, seed: int
) -> tuple[np.ndarray, dict[str, float]]:
    """(rows of uint8 images [6, n, H, W, C] as the module says, what `main` prints of them).

    x and labels are as `held_out_digits` has them. Errors are root mean squares over the pixels that had to be found:
    the hidden ones, or all that were noisy. The potential scale reduction of those pixels, as tfp.mcmc has it, is the
    variance of all draws over that within the chains. Where it is well above 1 the chains have not mixed, and longer
    ones would give other figures.
    """
    seen = degrade(x, task, seed)
    distribution = GlowDistribution(glow, label=labels if glow.config.ycond else None)
    posterior, accepted = sample_posterior(distribution, seen, chains=chains, burn_in=burn_in, draws=draws, seed=seed)
    mean = tf.reduce_mean(posterior, [0, 1])
    judged = 1 - seen.known if task == "inpainting" else seen.known

    def error(estimate: tf.Tensor) -> float:
        return float(tf.sqrt(tf.reduce_sum(judged * tf.square(estimate - x)) / tf.reduce_sum(judged)))

    reduction = tf.boolean_mask(tfp.mcmc.potential_scale_reduction(posterior), judged > 0)
    without = seen.values if task == "denoising" else tf.reduce_mean(distribution.sample(64, seed=[seed, 3]), 0)
    figures = {
        "accepted": float(accepted),
        "error of the posterior mean": error(mean),
        f"error of {'what was seen' if task == 'denoising' else 'the prior mean'}": error(without),
        "potential scale reduction: median": float(np.median(reduction)),
        "largest": float(np.max(reduction)),
    }
    grey = tf.where(seen.known > 0, seen.values, tf.zeros_like(x))
    rows = [x, grey, mean, *(posterior[-1, chain] for chain in range(3))]
    return np.stack([np.asarray(to_uint8(glow.config, row)) for row in rows]), figures


def main(arguments: list[str] | None = None) -> None:
    """Restores a few digits and draws them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a run on digits, or of a saved model")
    parser.add_argument("--task", choices=tuple(NOISE), default="inpainting")
    numbers = "numbers of test images (default 0 to 7)"
    parser.add_argument("--images", type=whole_number(0), nargs="+", default=list(range(8)), help=numbers)
    parser.add_argument("--chains", type=whole_number(3), default=4, help="for each image, at least 3 (default 4)")
    parser.add_argument(
        "--burn_in", type=whole_number(1), default=150, help="steps that adapt and are dropped (default 150)"
    )
    parser.add_argument("--draws", type=whole_number(2), default=60, help="steps that are kept (default 60)")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0)
    parser.add_argument("--out", type=Path, default=Path("inpainting.png"), help="the picture, a .png")
    args = parser.parse_args(arguments)
    try:
        check_out(args.out, [".png"])
        glow = open_model(find_model(args.model)).glow
        if not isinstance(glow, Glow):
            raise ValueError(f"{args.model} is an export; the example needs a run or a saved model")
        x, labels = held_out_digits(glow, args.images)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    steps = {"chains": args.chains, "burn_in": args.burn_in, "draws": args.draws}
    rows, figures = restore(glow, x, labels, args.task, seed=args.seed, **steps)
    write_raster(args.out, rows.reshape(-1, *rows.shape[2:]), columns=len(args.images), scale=6)
    print(f"{args.out}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
