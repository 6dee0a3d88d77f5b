"""How near the original's numbers we must come, with the reason for each. None is loosened to make a test pass.

The golden numbers were computed in float32 by another order of summation. float32 keeps 2**-24 = 6e-8 relative; a value
that went through a few hundred additions and products of such numbers differs by some 1e-6 of its scale.
"""

GOLDEN = {
    # kind: (largest relative difference, why); relative to the largest magnitude of the array compared
    "bits": (
        2e-6,
        "a sum of about 1e3 float32 terms; a float64 replica differs by up to 3e-6 absolute at 8 bits/dim",
    ),
    "latents": (
        3e-6,
        "up to 12 steps of float32; a float64 replica differs by less than 1e-5 absolute at 4 sigma",
    ),
    "decoded": (3e-6, "as latents, the other way"),
    "gradients": (2e-5, "sums over batch and pixels of products of rounded activations"),
    "initialisation": (1e-5, "means and variances of float32 activations, step after step"),
    "training loss": (1e-5, "12 updates, each divides by the root of a small second moment"),
    "training weights": (2e-5, "as training loss"),
    "training slots": (
        1e-4,
        "second moments of gradients near zero keep the gradients' absolute error",
    ),
}
BIN_EDGE = 1e-5  # a continuous value this near to a bin's edge may be rounded to either bin

LAYERS = {
    # kind: (largest difference relative to the largest magnitude, which counts as 1 if smaller; why)
    "inverse float32": (2e-5, "a few dozen roundings of 6e-8, times the condition number of a perturbed rotation (10)"),
    "inverse float64": (1e-12, "as float32, with roundings of 1e-16 and room for three steps"),
    "log-det": (1e-10, "an LU decomposition of a 24 x 24 Jacobian in float64"),
    "tf.function": (1e-12, "float64; the graph's optimiser may change the order of additions"),
    "bfloat16": (2e-2, "bfloat16 keeps 2**-8 = 4e-3 relative; three layers, small cancellations"),
    "extreme": (1e-4, "as inverse float32, where the coupling's scale may be small: up to 10 sigma into the sigmoid"),
}

NETWORK = {
    # kind: (largest difference, absolute and relative; why); float64, magnitudes around 1
    "value": (1e-12, "sums of up to 64 products in another order"),
    "gradient": (1e-11, "as value, three sums deep"),
    "std": (1e-4, "the original adds 1e-6 to a standard deviation that is as small as 0.01 here"),
    "bfloat16": (3e-2, "three products of numbers rounded to 4e-3"),
}

LEVEL = {
    # kind: (largest difference; why). Gradients: relative to the largest magnitude of each gradient
    "value": (1e-11, "float64: actnorm and permutation are folded into one product, a few dozen roundings a step"),
    "bfloat16": (3e-2, "the folded product rounds otherwise, which may move a number to the next bfloat16: 4e-3"),
    "gradient float64": (1e-10, "the project's own claim, at 32 steps too"),
    "gradient float32": (1e-4, "the project's own claim, at 32 steps too"),
    "gradient bfloat16": (1e-1, "not rounding but bias: every activation and product has 4e-3, against float32"),
}

JIT = {
    # kind: (largest difference relative to the largest magnitude, which counts as 1 if smaller; why); float32
    "value": (1e-5, "XLA fuses and adds in another order: a few dozen roundings of 6e-8, times perturbed weights"),
    "gradient": (2e-5, "as GOLDEN gradients"),
}

TF32 = {
    # kind: (largest difference; why)
    "exact product": (1e-6, "relative to the largest element: sums of up to 300 products with roundings of 6e-8"),
    "latents": (5e-6, "two steps there and back: a few dozen roundings of 6e-8 of latents up to 4"),
    "loss": (1e-5, "bits/dim: a sum of a few hundred float32 terms"),
    "exact gradient": (2e-5, "as GOLDEN gradients"),
    "gradient": (1e-2, "TF32 keeps 2**-11 = 5e-4 of every operand; six products one after another"),
}

MODEL = {
    # kind: (largest difference; why)
    "latents": (2e-5, "float32: a few dozen roundings of 6e-8 of latents up to 4, times perturbed weights' condition"),
    "bfloat16": (2e-2, "the network sees an input that is rounded otherwise, by one bfloat16 step of 4e-3 at worst"),
    "recovered": (1e-4, "float32: 32 steps there and back, each with roundings of 6e-8 times a scale of up to e"),
    "numeric": (1e-5, "central differences of 1e-6: their error is 1e-10 relative for each of 32 columns, times 256"),
}

BIJECTORS = {
    # kind: (largest difference relative to the largest magnitude, which counts as 1 if smaller; why)
    "inverse float32": (2e-5, "as LAYERS, also at 5 sigma, where the difference is taken relative to 5"),
    "inverse float64": (1e-12, "as LAYERS, up to six perturbed steps"),
    "log-det": (1e-10, "an LU decomposition of a 64 x 64 Jacobian in float64"),
    "numeric log-det": (1e-5, "central differences of 1e-6: rounding and curvature make up to 1e-9 of each entry"),
    "tf.function": (1e-12, "float64; the graph's optimiser and other batch sizes may change the order of additions"),
    "gradient": (1e-10, "float64: the two losses' gradients are added in another order, through up to six steps"),
    "float32 log-prob": (2e-6, "a sum of a few hundred float32 terms, relative to its value of some hundred nats"),
}

EXPORT = {
    # kind: (largest difference relative to the largest magnitude, which counts as 1 if smaller; why)
    "log_prob": (2e-6, "the same float32 operations; weights folded one by one, and graphs optimised otherwise"),
    "bits_per_dim": (2e-6, "as log_prob"),
    "encode": (1e-5, "as log_prob; in single latents perturbed weights amplify a few dozen roundings of 6e-8"),
    "images": (1e-3, "the share of values that the rounding of latents moves over the edge of a bin"),
}

RANKS = {
    # kind: (largest difference relative to the largest magnitude of each array; why)
    "float32": (1e-5, "20 steps; means over the ranks' halves round otherwise, 6e-8 each; 2e-6 was seen"),
    "first step": (2e-5, "as GOLDEN gradients; the reference is a difference of two moments"),
    "fp16": (1e-3, "fp16 keeps 2**-11 = 5e-4 of a gradient on its way there, and of the sum on its way back"),
    "whole run": (1e-4, "as float32, with moments of small gradients in which a rounding counts for more"),
}
