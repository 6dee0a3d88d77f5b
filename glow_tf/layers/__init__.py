"""The rows of the paper's Table 1 as invertible layers, one file per row; base.py holds their contract."""

from glow_tf.layers.actnorm import ActNorm
from glow_tf.layers.base import Layer
from glow_tf.layers.coupling import AdditiveCoupling, AffineCoupling
from glow_tf.layers.invertible_conv import InvertibleConv1x1, InvertibleConv1x1LU
from glow_tf.layers.permutation import ReversePermutation, ShufflePermutation
from glow_tf.layers.split import Split
from glow_tf.layers.squeeze import Squeeze

__all__ = [
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "InvertibleConv1x1",
    "InvertibleConv1x1LU",
    "Layer",
    "ReversePermutation",
    "ShufflePermutation",
    "Split",
    "Squeeze",
]
