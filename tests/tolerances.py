"""How near two evaluations must come. Every bound is arithmetic; none is what one machine happened to show.

    allowed = 2 sqrt(n) u A

u: the unit roundoff of the format that rounds: 2**-53 for float64, 2**-24, float32, 2**-11, float16 and TF32,
2**-8, bfloat16.

n: how many roundings lie on one path to a result, in both evaluations together. Another order of addition, other vector
widths, fused multiply-adds, another number of threads or another kernel change each rounding, and not their number. A
rounding's relative error is spread over [-u, u], so its standard deviation is u / sqrt(3) at most, and sqrt(n) as much
after n independent ones: the bound is 3.5 standard deviations where every significand is just above a power of two, and
5 for the usual ones (Higham and Mary, SIAM J. Sci. Comput. 41, 2019, have sqrt(n) from the same assumption). A sum of m
products of mixed signs counts as m / 2 + 1 roundings (`products`): the squares of its partial sums are half the square
of the result on average, and the products' own roundings count as one together.

A: the amplification, how much of the compared scale a relative error on the way is worth. It is a condition number
where a map is undone, a ratio of magnitudes where terms cancel, and below 1 where only a share of the scale is computed
so. It is reckoned from the weights and inputs of the tests, which their seeds fix.

A bound that two evaluations of a discontinuous function share (a relu's gradient, a rounding to bfloat16) covers one
value on the other side: a bfloat16 that is rounded to its neighbour has moved by 2 u, as after one more rounding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "tf32": 2.0**-11, "bfloat16": 2.0**-8}


class Tolerance(NamedTuple):
    """The largest difference, relative to the scale that `assert_near` of tests/near.py takes; and why."""

    allowed: float
    why: str


def rounded(dtype: str, n: float, amplification: float, why: str) -> Tolerance:
    """After n roundings to `dtype`, in both evaluations together, whose errors count `amplification` times."""
    allowed = 2 * math.sqrt(n) * UNIT_ROUNDOFF[dtype] * amplification
    return Tolerance(allowed, f"2 sqrt({n:.0f}) u A for {dtype}, A = {amplification:g}: {why}")


def products(m: float) -> float:
    """Roundings of a sum of m products."""
    return m / 2 + 1


def network(channels: float, width: int) -> float:
    """Roundings of a coupling network: windows of 9 C / 2 values with indicator and bias, width twice, nine taps."""
    return products(9 * channels / 2 + 10) + 2 * products(width) + products(9) + 3


def step(channels: float, width: int) -> float:
    """Roundings of a flow step: the product that mixes the channels, the network, sigmoid, scale, shift and offset."""
    return products(channels) + network(channels, width) + 8


# What a coupling's network rounds to bfloat16 on one path: sums of products and biases, which some kernels add in
# bfloat16 and others in float32, and a graph may fuse; the casts of the input, three matrices and a bias. Everything
# around it is float32 or float64. The networks that are compared have 2 channels in and are 5 wide.
BFLOAT16_PRODUCTS = network(4, 5)
BFLOAT16_NETWORK = BFLOAT16_PRODUCTS + 5
BFLOAT16_GRADIENT = 2 * BFLOAT16_NETWORK  # there and back


# The golden cases. The largest, edge32, has 3 levels of 4 steps, 64 wide, and 32 * 32 * 3 values an image.
_THROUGH = 4 * sum(products(channels) + 6 for channels in (12, 24, 48))
_NETWORKS = 4 * sum(network(channels, 64) for channels in (12, 24, 48))
# Every value goes through the first; the networks add a tenth of the scale.
_VALUE = 2 * (_THROUGH + 0.1**2 * _NETWORKS)
_GRADIENT = 2 * (2 * _THROUGH + 2 * network(12, 64) + products(2 * 16 * 16))  # there, back, and a sum over pixels
_UPDATES = 12 * _GRADIENT

GOLDEN_INITIALISATION = 1.4e-5  # OpenAI's float32 numbers against this model in float64: a property of the data
_INITIALISATION = rounded(
    "float32",
    2 * step(12, 16) + 2 * step(24, 16) + 32 * 64 / 8 / 3,
    3,
    "4 steps, then means of 2048 values in 8 lanes; b = -mean counts relative to the deviation, a third of it",
)

GOLDEN = {  # relative to the largest magnitude of the array
    "bits": rounded("float32", 2 * 3072 / 8 / 3, 1, "a sum of 3072 in 8 lanes, whose partial sums grow"),
    "latents": rounded("float32", _VALUE, 1, "12 steps of near-rotations; networks add a tenth of the scale"),
    "decoded": rounded("float32", _VALUE, 1, "as latents, the other way"),
    "gradients": rounded("float32", _GRADIENT, 3, "there and back, a sum over 512 pixels; exp(3 logs) gives the 3"),
    "initialisation": Tolerance(
        GOLDEN_INITIALISATION + _INITIALISATION.allowed,
        f"the golden data's own error, 1.4e-5 against float64, and ours: {_INITIALISATION.why}",
    ),
    "training loss": rounded("float32", _UPDATES, 0.5, "12 updates, from weights that are off by as much as they may"),
    "training weights": rounded("float32", _UPDATES, 1, "12 updates, each off by the gradients' rounding"),
    "training slots": rounded("float32", _UPDATES, 5, "squares of gradients (2), small ones beside large ones' errors"),
}
BIN_EDGE = 1e-5  # a continuous value this near to a bin's edge may be rounded to either bin

# Layers of tests/layers/registry.py: up to 3 steps of 4 channels, 5 wide. test_log_det_is_that_of_the_jacobian checks
# that no example's condition number is above CONDITION; the scales of x and y differ by up to 2 more.
CONDITION = 5
_LEVEL = 2 * 3 * step(4, 5)

LAYERS = {  # relative to the largest magnitude, at least 1
    "inverse float32": rounded("float32", _LEVEL, 2 * CONDITION, "3 steps, undone; condition 5, scales 2"),
    "inverse float64": rounded("float64", _LEVEL, 2 * CONDITION, "3 steps, undone; condition 5, scales 2"),
    "log-det": rounded("float64", 2 * 3 * step(4, 5) + products(24), 24 * CONDITION, "a trace of 24 relative errors"),
    "tf.function": rounded("float64", _LEVEL, 2 * CONDITION, "3 steps twice, in two orders of addition"),
    "bfloat16": rounded("bfloat16", BFLOAT16_NETWORK, 0.25, "a network's outputs, up to 0.6 where x is 2.4"),
    "tf.function bfloat16": rounded(
        "bfloat16", 2 * BFLOAT16_PRODUCTS, 0.25, "as bfloat16; products and biases fused or not"
    ),
    "extreme": rounded("float32", _LEVEL, 50, "at 10 sigma Split's mean is 50 times what its scale leaves of a latent"),
}

# A network of 6 channels in, 5 wide, and convolutions of 7 channels; float64.
_NETWORK = 2 * network(14, 5)

NETWORK = {  # relative to the largest magnitude, at least 1
    "value": rounded("float64", _NETWORK, 10, "the largest of 24 to 70 terms of mixed signs is a tenth of their sum"),
    "gradient": rounded("float64", 3 * _NETWORK, 10, "there, back, and a sum over pixels"),
    "std": Tolerance(1e-6 / 0.01, "OpenAI's code adds 1e-6 to a standard deviation that is as small as 0.01 here"),
    "bfloat16": rounded("bfloat16", BFLOAT16_NETWORK, 1, "a network in float32 and in bfloat16"),
}

POINTS = {  # of single layers, at points worked out by hand; relative to the largest magnitude, at least 1
    "float64": rounded("float64", 2 * 2 * products(4) + 8, 3, "two products of 4 terms or a few operations, up to 3"),
    "offset 300": rounded("float64", 2 * products(128), 100, "128 numbers of 300, divided by a deviation of 3"),
    "epsilon": Tolerance(1e-6, "OpenAI's code adds 1e-6 to a standard deviation of 3, which is a third of this"),
    "exp of 14": rounded("float32", 6, 14, "a logarithm of 14 is rounded; exp takes absolute errors to relative ones"),
}

LEVEL = {  # values relative to the largest magnitude, at least 1; gradients to the largest magnitude of each
    "value": rounded("float64", _LEVEL, 2 * CONDITION, "3 steps; actnorm and permutation are one product or two"),
    "initialised": rounded("float64", _LEVEL, 100, "as value, divided by deviations of 0.1 and less"),
    "bfloat16": rounded("bfloat16", 3 * 2 * BFLOAT16_PRODUCTS, 0.25, "3 networks, outputs up to 0.6 where x is 2.4"),
    "gradient float64": rounded("float64", 4 * 32 * step(8, 16), 5, "32 steps there and back, twice; condition 5"),
    "gradient float32": rounded("float32", 4 * 32 * step(8, 16), 5, "32 steps there and back, twice; condition 5"),
}

JIT = {  # float32, relative to the largest magnitude, at least 1
    "value": rounded("float32", _LEVEL, 1.2 * CONDITION, "XLA fuses and adds in another order; condition 5"),
    "gradient": rounded("float32", _GRADIENT, 4, "as GOLDEN gradients, fused and added in another order"),
}


def another_loop(dtype: str, channels: float, width: int, largest: float) -> Tolerance:
    """A coupling network's outputs, up to `largest`, in two loops that XLA compiles each in its own way.

    Two float32 sums after n roundings differ by up to 2 sqrt(n) units in the last place, and are rounded to different
    bfloat16 values where a midpoint is between them: a share of 2 sqrt(n) 2**-16 of them.
    """
    n = 2 * network(channels, width)
    why = f"two evaluations of a network that is {width} wide, with outputs up to {largest:.2g}"
    if dtype == "float32":
        return rounded(dtype, n, largest, why)
    return rounded(dtype, max(1.0, n * 2 * math.sqrt(n) * 2**-16), largest, f"{why}, whose sums are float32")


# Models of tests/random_weights.py: 2 levels of 2 steps, 12 and 24 channels, 4 wide.
_MODEL = 2 * 2 * (step(12, 4) + step(24, 4))

MODEL = {  # relative to the largest magnitude, at least 1
    "latents": rounded("float32", _MODEL, 5, "4 steps, undone, with perturbed weights of condition 5"),
    "bfloat16": rounded("bfloat16", 2 * 2 * BFLOAT16_PRODUCTS, 0.35, "2 networks with outputs up to 0.35"),
    "bfloat16 bits": rounded(
        "bfloat16", 4 * BFLOAT16_NETWORK, 0.35 / 96**0.5 / 9, "outputs up to 0.35, a mean of 96 of 9 bits"
    ),
    "recovered": rounded("float32", 2 * 32 * step(8, 16), 10, "32 steps there and back, of trained weights"),
    "numeric": rounded(
        "float64", _MODEL, 1e6 * 4 * 32 / 100, "central differences of 1e-6, 32 columns, of 100 nats and more"
    ),
}

# Products that a GPU would compute in TF32, emulated; the models of MODEL.
TF32 = {  # relative to the largest magnitude
    "exact product": rounded("float32", 2 * products(300), 1 / 3, "300 products; the largest of many is 3 deviations"),
    "latents": rounded("float32", _MODEL, 2, "4 steps there and back"),
    "loss": rounded("float32", 2 * 192 / 8 / 3 + _MODEL, 3, "bits per dimension, up to 9, of 192 values"),
    "exact gradient": JIT["gradient"],
    "gradient": rounded("tf32", 6, 4, "two operands of three products, there and back, amplified by 4"),
}

# Bijectors of tests/bijectors/registry.py: steps as LAYERS, models of 2 levels with 1 step, 16 numbers.
_SUM = _LEVEL + 2 * products(96)

BIJECTORS = {  # relative to the largest magnitude, at least 1
    "inverse float32": LAYERS["inverse float32"],
    "inverse float64": LAYERS["inverse float64"],
    "any shape": rounded("float64", _LEVEL, 100, "as inverse, of any sizes and weights"),
    "log-det": LAYERS["log-det"],
    "numeric log-det": rounded("float64", _LEVEL, 1e6 * 4 * 32, "central differences of 1e-6 of numbers up to 4"),
    "tf.function": LAYERS["tf.function"],
    "gradient": rounded("float64", 3 * _LEVEL, 10, "two losses' gradients, added in another order"),
    "float32 log-prob": rounded("float32", _SUM, 1, "a density of up to 96 numbers: 3 steps and a sum"),
    "float32 samples": rounded("float32", _LEVEL, 10, "a latent taken there, or there and back"),
    "bfloat16 log-prob": rounded("bfloat16", BFLOAT16_NETWORK, 0.1, "a network in float32 and in bfloat16, 16 numbers"),
}

EXPORT = {  # relative to the largest magnitude, at least 1; images: share of values
    "log_prob": rounded("float32", 2 * 192 / 8 / 3 + _MODEL, 0.5, "192 terms; the latents' errors average out"),
    "bits_per_dim": rounded("float32", 2 * 192 / 8 / 3 + _MODEL, 0.5, "as log_prob"),
    "encode": rounded("float32", _MODEL, 3, "as MODEL latents, relative to the largest"),
    "images": Tolerance(1e-3, "the share of values that the rounding of latents moves over the edge of a bin"),
}

RANKS = {  # relative to the largest magnitude of each array
    "float32": rounded("float32", 20 * _LEVEL, 1, "20 updates; means over the ranks' halves are rounded otherwise"),
    "first step": rounded("float32", _GRADIENT, 3, "as GOLDEN gradients; the reference is a difference of two moments"),
    "fp16": rounded("float16", 2, 1, "a gradient on its way there, and the sum on its way back"),
    "whole run": rounded("float32", 160 * _LEVEL, 4, "160 updates, moments of small gradients among them"),
}
