"""The command lines of OpenAI's README, every alternative in brackets spelled out.

Source: README.md of https://github.com/openai/glow.
"""

from __future__ import annotations

import itertools
import re

_INVCONV = "--flow_permutation 2 --flow_coupling {} --seed 0 --learntop --lr 0.001"
_AFFINE, _ADDITIVE = _INVCONV.format(1), _INVCONV.format(0)
_CATEGORY = "--category [bedroom/church_outdoor/tower]"
_CONDITIONAL = "--ycond --weight_y=0.01"
_LINES = {
    "simple": "--depth 1",
    "default": "",
    "ablation": "--problem cifar10 --image_size 32 --n_level 3 --depth 32 --flow_permutation [0/1/2]"
    " --flow_coupling [0/1] --seed [0/1/2] --learntop --lr 0.001",
    "cifar10": f"--problem cifar10 --image_size 32 --n_level 3 --depth 32 {_AFFINE} --n_bits_x 8",
    "imagenet32": f"--problem imagenet-oord --image_size 32 --n_level 3 --depth 48 {_AFFINE} --n_bits_x 8",
    "imagenet64": f"--problem imagenet-oord --image_size 64 --n_level 4 --depth 48 {_AFFINE} --n_bits_x 8",
    "lsun64": f"--problem lsun_realnvp {_CATEGORY} --image_size 64 --n_level 3 --depth 48 {_AFFINE} --n_bits_x 8",
    "celebahq256": f"--problem celeba --image_size 256 --n_level 6 --depth 32 {_ADDITIVE} --n_bits_x 5",
    "lsun": f"--problem lsun {_CATEGORY} --image_size [96/128] --n_level 5 --depth 64 {_ADDITIVE} --n_bits_x 5",
    "cifar10_conditional": f"--problem cifar10 --image_size 32 --n_level 3 --depth 32 {_ADDITIVE} --n_bits_x 5"
    f" {_CONDITIONAL}",
    "imagenet32_conditional": f"--problem imagenet --image_size 32 --n_level 3 --depth 48 {_ADDITIVE} --n_bits_x 5"
    f" {_CONDITIONAL}",
}
_CHOICE = re.compile(r"--(\w+) \[([^\]]*)\]")


_OF_NO_CONSEQUENCE = ("seed", "category")  # the same programs run whichever is chosen


def lines(*, every: bool = True) -> dict[str, str]:
    """A name -> the flags, one for every combination of alternatives.

    Args:
      every: False: the first of the seeds and categories only.
    """
    found = {}
    for name, line in _LINES.items():
        choices = []
        for flag, alternatives in _CHOICE.findall(line):
            values = alternatives.split("/")
            choices.append(values if every or flag not in _OF_NO_CONSEQUENCE else values[:1])
        for chosen in itertools.product(*choices):
            found["-".join([name, *chosen])] = _choose(line, chosen)
    return found


def _choose(line: str, chosen: tuple[str, ...]) -> str:
    for value in chosen:
        line = _CHOICE.sub(rf"--\1 {value}", line, count=1)
    return line


def is_alone(name: str) -> bool:
    """Whether OpenAI's code runs the line without mpiexec."""
    return name == "simple"
