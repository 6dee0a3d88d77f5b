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
