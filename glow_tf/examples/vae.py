"""A VAE of the digits with a glow_tf flow as its prior, or as its posterior, against the same VAE without a flow.

    python -m glow_tf.examples.vae

The encoder gives a diagonal normal over a feature map z [4, 4, 4], the decoder a quantised logistic for every pixel.
The models differ in one thing, K flow steps (`glow_tf.bijectors.FlowLevel`):

  gaussian   none: prior and posterior are diagonal Gaussians, the prior's scale and mean learned for every latent
  flow       the prior is its Gaussian sent through the steps
  posterior  q(z | x) is the encoder's Gaussian sent through the steps, which are given the encoder's features of x as
             their context: an amortised posterior that is no Gaussian

All are trained in the same way on the same batches and judged by their test ELBO, in nats per image (higher is better)
and as bits per dimension (lower is better).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tqdm import trange

import data_loaders
from glow_tf.bijectors import FlowLevel
from glow_tf.commands.arguments import check_out, whole_number
from glow_tf.storage.files import atomic_write

tfd, tfb = tfp.distributions, tfp.bijectors

LEVELS = 16  # grey values that the digits are counted in, as in `make train`
LATENTS = (4, 4, 4)


def encoder(width: int, seed: int) -> tf.keras.Model:
    """Images [N, 8, 8, 1] in [0, 1] -> mean and raw scale of z, [N, 4, 4, 8]."""
    layer = _convolutions(width, seed)
    return tf.keras.Sequential([layer(3, 2), layer(3, 1), layer(3, 1, 2 * LATENTS[-1], None)])


def decoder(width: int, seed: int) -> tf.keras.Model:
    """z [N, 4, 4, 4] -> mean and raw scale of the pixels, [N, 8, 8, 2]."""
    layer = _convolutions(width, seed + 100)
    return tf.keras.Sequential(
        [layer(3, 1), layer(3, 1), tf.keras.layers.UpSampling2D(2), layer(3, 1), layer(3, 1, 2, None)]
    )


def _convolutions(width: int, seed: int) -> Any:
    seeds = iter(range(1000 * seed, 1000 * seed + 10))

    def layer(
        kernel: int, strides: int, filters: int = width, activation: str | None = "relu"
    ) -> tf.keras.layers.Layer:
        start = tf.keras.initializers.GlorotUniform(seed=next(seeds))
        return tf.keras.layers.Conv2D(filters, kernel, strides, "same", activation=activation, kernel_initializer=start)

    return layer


class VAE(tf.Module):
    """p(z) p(x | z), and q(z | x).

    Args:
      depth: K, the flow steps of the prior; 0 for the diagonal Gaussian.
      width: hidden channels of encoder and decoder; the flow's networks have as many.
      seed: the initial weights are a function of it.
      posterior_depth: K, the conditional flow steps of the posterior; 0 for a diagonal Gaussian.
    """

    def __init__(self, depth: int, width: int = 32, seed: int = 0, *, posterior_depth: int = 0):
        super().__init__(name="vae")
        self.encoder, self.decoder = encoder(width, seed), decoder(width, seed)
        self.encoder.build([None, 8, 8, 1])
        self.decoder.build([None, *LATENTS])
        self.mean, self.raw_scale = (tf.Variable(tf.zeros(LATENTS), name=name) for name in ("mean", "raw_scale"))
        options: dict[str, Any] = {"width": width, "seed": seed, "memory": "store"}
        self.flow = FlowLevel(LATENTS[-1], depth=depth, **options) if depth else None
        self.posterior_flow = None
        if posterior_depth:  # draws go through its inverse, which `memory` speeds up
            self.posterior_flow = FlowLevel(LATENTS[-1], depth=posterior_depth, context_channels=width, **options)

    @property
    def weights(self) -> tuple[tf.Variable, ...]:
        """All that is trained."""
        of_flow = [v for flow in (self.flow, self.posterior_flow) if flow for v in flow.trainable_variables]
        of_networks = [*self.encoder.trainable_variables, *self.decoder.trainable_variables]
        return (*[getattr(v, "value", v) for v in of_networks], self.mean, self.raw_scale, *of_flow)

    def prior(self) -> Any:
        """p(z), events [4, 4, 4]."""
        base = tfd.Independent(tfd.Normal(self.mean, tf.exp(self.raw_scale)), 3)
        return tfd.TransformedDistribution(base, self.flow) if self.flow else base

    def posterior(self, x: tf.Tensor) -> Any:
        """q(z | x) of grey values x [N, 8, 8, 1] from 0 to 15."""
        features = self.features(x)
        mean, raw_scale = tf.split(self.encoder.layers[-1](features), 2, -1)
        base = tfd.Independent(tfd.Normal(mean, 1e-3 + tf.nn.softplus(raw_scale)), 3)
        if self.posterior_flow is None:
            return base
        given = {"context": features}
        return tfd.TransformedDistribution(
            base, tfb.Invert(self.posterior_flow), kwargs_split_fn=lambda kwargs: (kwargs, given)
        )

    def features(self, x: tf.Tensor) -> tf.Tensor:
        """The encoder's, [N, 4, 4, width], of grey values x."""
        h = x / (LEVELS - 1)
        for layer in self.encoder.layers[:-1]:
            h = layer(h)
        return h

    def initialize(self, x: tf.Tensor, seed: Any) -> None:
        """Data-dependent initialisation of the flows' actnorms, from posterior draws."""
        if self.flow:
            self.flow.layer.initialize(self.posterior(x).sample(seed=seed))
        if self.posterior_flow:
            self.posterior_flow.layer.initialize(self.posterior(x).distribution.sample(seed=seed), self.features(x))

    def likelihood(self, z: tf.Tensor) -> Any:
        """p(x | z): whole numbers from 0 to 15 for every pixel."""
        mean, raw_scale = tf.split(self.decoder(z), 2, -1)
        logistic = tfd.Logistic(LEVELS * tf.sigmoid(mean) - 0.5, 0.1 + tf.nn.softplus(raw_scale))
        # TFP's quantised value k has the mass of (k - 1, k], so that half of it lies on either side of k - 1/2
        shifted = tfd.TransformedDistribution(logistic, tfb.Shift(-0.5))
        return tfd.Independent(tfd.QuantizedDistribution(shifted, low=0.0, high=LEVELS - 1.0), 3)

    def elbo(self, x: tf.Tensor, seed: Any, weight: Any = 1.0) -> tf.Tensor:
        """One draw's estimate of the ELBO in nats, [N]; `weight` is that of its divergence, less than 1 in warm-up."""
        z, log_q = self.posterior(x).experimental_sample_and_log_prob(seed=seed)
        return self.likelihood(z).log_prob(x) - weight * (log_q - self.prior().log_prob(z))


def digits(split: str) -> tf.Tensor:
    """All images of a split as grey values from 0 to 15, float32 [N, 8, 8, 1]."""
    data = data_loaders.load("digits")
    images = np.concatenate([np.asarray(x) for x, _ in data.batches_in_order(split, 500)])
    return tf.constant(images // (256 // LEVELS), tf.float32)


def train(vae: VAE, x: tf.Tensor, *, steps: int, batch: int, seed: int) -> None:
    """Adam with a learning rate that falls to zero; batches and noise are a function of the seed.

    In the first fifth of the steps the divergence counts less, or the decoder learns to do without z.
    """
    optimizer = tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(2e-3, steps))
    weights = vae.weights

    @tf.function(autograph=False)
    def step(k: tf.Tensor) -> tf.Tensor:
        chosen = tf.random.stateless_uniform([batch], [seed, k], 0, tf.shape(x)[0], tf.int32)
        with tf.GradientTape() as tape:
            warm = tf.minimum(1.0, (tf.cast(k, tf.float32) + 1) / (0.2 * steps))
            loss = -tf.reduce_mean(vae.elbo(tf.gather(x, chosen), [seed, k + 1_000_000], warm))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, weights), 50.0)
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return loss

    vae.initialize(x[:256], [seed, -1])
    kind = "flow prior" if vae.flow else "flow posterior" if vae.posterior_flow else "gaussian"
    with trange(steps, desc=f"{kind}, seed {seed}", mininterval=5.0) as bar:
        for k in bar:
            loss = step(tf.constant(k))
            if k % 100 == 0:
                bar.set_postfix_str(f"ELBO {-float(loss):.1f}")


def test_elbo(vae: VAE, x: tf.Tensor, draws: int = 20) -> float:
    """Mean ELBO of the images x in nats, over several draws for each."""
    elbo = tf.function(lambda seed: tf.reduce_mean(vae.elbo(x, seed)), autograph=False)
    return float(np.mean([elbo(tf.constant([draw, 7])) for draw in range(draws)]))


def compare(*, depth: int, width: int, steps: int, batch: int, seeds: int) -> list[dict[str, float]]:
    """All models for each seed: {"seed", "gaussian", "flow", "posterior"}, test ELBOs in nats."""
    kinds = {"gaussian": (0, 0), "flow": (depth, 0), "posterior": (0, depth)}
    seen, held_out = digits("train"), digits("test")
    rows = []
    for seed in range(seeds):
        row: dict[str, float] = {"seed": seed}
        for name, (of_prior, of_posterior) in kinds.items():
            vae = VAE(of_prior, width, seed, posterior_depth=of_posterior)
            train(vae, seen, steps=steps, batch=batch, seed=seed)
            row[name] = test_elbo(vae, held_out)
        rows.append(row)
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Trains, compares, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=whole_number(1), default=8, help="K, flow steps (default 8)")
    parser.add_argument(
        "--width", type=whole_number(1), default=32, help="hidden channels of encoder and decoder (default 32)"
    )
    parser.add_argument("--steps", type=whole_number(1), default=2000, help="training steps (default 2000)")
    parser.add_argument("--batch", type=whole_number(1), default=64, help="images of a step (default 64)")
    parser.add_argument("--seeds", type=whole_number(1), default=3, help="how often each is trained (default 3)")
    parser.add_argument("--out", type=Path, help="the figures, a .json")
    args = parser.parse_args(arguments)
    try:
        if args.out:
            check_out(args.out, [".json"])
    except ValueError as error:
        parser.error(str(error))
    settings = {name: value for name, value in vars(args).items() if name != "out"}
    rows = compare(**settings)
    per_bit = 64 * math.log(2)
    print("| seed | Gaussian: test ELBO, bits/dim | flow prior | flow posterior | gains, nats |")
    print("|---|---|---|---|---|")
    gains = {name: [row[name] - row["gaussian"] for row in rows] for name in ("flow", "posterior")}
    for i, row in enumerate(rows):
        cells = [f"{row[name]:.2f}, {-row[name] / per_bit:.3f}" for name in ("gaussian", *gains)]
        print(f"| {row['seed']} | {' | '.join(cells)} | {', '.join(f'{gain[i]:.2f}' for gain in gains.values())} |")
    for name, gain in gains.items():
        spread = f" +- {np.std(gain, ddof=1):.2f} (standard deviation over seeds)" if len(gain) > 1 else ""
        print(f"gain of the flow {'prior' if name == 'flow' else name}: {np.mean(gain):.2f}{spread} nats")
    if args.out:
        with atomic_write(args.out) as temporary:
            temporary.write_text(json.dumps({**settings, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
