from __future__ import annotations

import subprocess
import sys

import pytest

import data_loaders
from data_loaders import registry


def test_problems_are_listed():
    assert {"digits", "mnist", "cifar10", "folder"} <= set(data_loaders.problems())


def test_listing_the_problems_imports_no_tensorflow():
    code = "import data_loaders, sys; data_loaders.problems(); print('tensorflow' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize(("wrong", "near"), [("cifar", "cifar10"), ("MNIST", "mnist"), ("digit", "digits")])
def test_unknown_problem_names_the_nearest_and_all(wrong, near):
    with pytest.raises(data_loaders.DataError, match=f"mean '{near}'") as error:
        data_loaders.load(wrong)
    assert all(name in str(error.value) for name in data_loaders.problems())


def test_data_error_is_a_value_error():
    assert issubclass(data_loaders.DataError, ValueError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dal": 3}, "dal must be 0"),
        ({"dal": True}, "dal must be 0"),
        ({"n_test": 0}, "n_test must be a positive"),
        ({"n_test": 298}, "n_test is 298, .* has 297"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**63}, "seed must be"),
        ({"workers": 0}, "workers must be"),
        ({"image_size": 0}, "image_size must be"),
        ({"image_size": "8"}, "image_size must be"),
        ({"image_size": (8, 8, 1)}, "image_size must be"),
        ({"image_size": 16}, "averaged down by whole factors, to image_size 1, 2, 4, 8"),
        ({"image_size": (4, 3)}, "but not made 4x3"),
        ({"data_dir": "somewhere"}, "takes no data_dir"),
        ({"category": "cats"}, "no categories"),
        ({"colour": "red"}, "no option 'colour'; its options: none"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(data_loaders.DataError, match=message):
        data_loaders.load("digits", **arguments)


def test_unknown_option_lists_those_there_are():
    with pytest.raises(data_loaders.DataError, match=r"no option 'labelz'.*label_attribute"):
        data_loaders.load("folder", data_dir=".", labelz="none")


def test_a_problem_can_be_added_and_its_options_reach_it():
    seen = []

    def load(request, *, flavour="plain"):
        seen.append((request.problem, request.image_size, flavour))
        return "the data"

    data_loaders.register("mine", load)
    try:
        assert data_loaders.load("mine", image_size=(4, 6), flavour="hot") == "the data"
        assert seen == [("mine", (4, 6), "hot")]
        with pytest.raises(data_loaders.DataError, match="'mine' already"):
            data_loaders.register("mine", load)
    finally:
        registry.unregister("mine")
    assert "mine" not in data_loaders.problems()
