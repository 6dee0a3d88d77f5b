"""Bits/dim of the simplest density on the digits: one Gaussian with full covariance, fitted to the training images.

What `make train` must beat. `python -m tests.benchmarks.gaussian_baseline`
"""

from __future__ import annotations

import numpy as np

import data_loaders

N_BITS = 4  # as make train
DRAWS = 20  # of dequantisation noise for every training image


def dequantized(data: data_loaders.DataSet, split: str, rng: np.random.Generator) -> np.ndarray:
    """Every image of the split as a vector in [-1/2, 1/2), with fresh noise: [N, D]."""
    x = np.concatenate([images.numpy() for images, _ in data.batches_in_order(split, 500)])
    bins = 2**N_BITS
    return (np.floor(x / (256 / bins)) / bins - 0.5 + rng.random(x.shape) / bins).reshape(len(x), -1)


def gaussian_bits_per_dim() -> float:
    """Mean test bits/dim of the Gaussian."""
    data, rng = data_loaders.load("digits"), np.random.default_rng(0)
    train = np.concatenate([dequantized(data, "train", rng) for _ in range(DRAWS)])
    test = dequantized(data, "test", rng)
    dimensions = test.shape[1]
    root = np.linalg.cholesky(np.cov(train.T))
    z = np.linalg.solve(root, (test - train.mean(0)).T)
    log_density = -0.5 * (z**2).sum(0) - 0.5 * dimensions * np.log(2 * np.pi) - np.log(np.diag(root)).sum()
    return float(np.mean(N_BITS - log_density / (dimensions * np.log(2))))


if __name__ == "__main__":
    print(f"{gaussian_bits_per_dim():.4f}")
