"""What `pip install .` installs, what `import glow_tf` imports, and which versions the two lists name."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# In requirements.txt for the sake of TensorFlow or Horovod, which ask for them themselves.
ONLY_PINNED = {
    *("keras", "protobuf", "ml-dtypes"),
    *("setuptools", "wheel", "cloudpickle", "pyyaml", "cmake"),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with what is installed: no network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--no-index", "--wheel-dir", folder, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def pins() -> dict[str, Requirement]:
    """requirements.txt, by canonical name."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    found = [Requirement(text) for line in lines if (text := line.split("#")[0].strip())]
    return {canonicalize_name(pin.name): pin for pin in found}


def asked_for(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, without the project's own name."""
    optional = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in optional[extra])]
    return [r for r in map(Requirement, texts) if r.name != PROJECT["name"]]


def test_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    info = f"glow_tf-{PROJECT['version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {"glow_tf", "data_loaders", info}
    assert {"glow_tf/__init__.py", "data_loaders/__init__.py"} <= set(names)
    assert f"{info}/licenses/LICENSE" in names


@pytest.mark.parametrize("package", ["glow_tf", "data_loaders"])
def test_wheel_holds_every_file_that_git_does_not_ignore(wheel: Path, package: str) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", package]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    expected = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    assert expected <= set(zipfile.ZipFile(wheel).namelist())


def test_wheel_holds_the_digits_and_where_they_come_from(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any(re.fullmatch(r"data_loaders/.*\.npz", name) for name in names)
    assert any(re.fullmatch(r"data_loaders/.*\.txt", name) for name in names)


def test_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Both packages import from the unpacked wheel, which finds its own data files."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import glow_tf, data_loaders; print(glow_tf.__file__, data_loaders.__file__, sep='\\n');"
        "print(data_loaders.load('digits').n_train)"
    )
    output = run_python(code, cwd=tmp_path).splitlines()
    assert [Path(line).parent.parent for line in output[:2]] == [tmp_path, tmp_path]
    assert int(output[2]) > 1000


def test_import_needs_only_tensorflow_and_numpy() -> None:
    """Nothing else is loaded, and Pillow, TensorBoard and OpenCV, which TensorFlow loads if it can, may be missing."""
    optional = ["tensorflow_probability", "tf_keras", "horovod", "tqdm", "lmdb", "gradio"]
    code = (
        "import sys; sys.modules.update(PIL=None, tensorboard=None, cv2=None);"
        "import glow_tf, data_loaders; data_loaders.load('digits');"
        "[getattr(glow_tf, name) for name in glow_tf.__all__];"  # each is imported when it is first asked for
        f"print(*{{*{optional}}} & sys.modules.keys())"
    )
    assert run_python(code, cwd=ROOT).split() == []


def run_python(code: str, cwd: Path) -> str:
    """The output of a fresh interpreter, in which `cwd` comes first on the path."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_installing_takes_tensorflow_and_numpy_only() -> None:
    assert {r.name for r in asked_for()} == {"tensorflow", "numpy"}
    assert set(PROJECT["optional-dependencies"]) == {"train", "tfp", "demo", "dev"}


def test_every_pin_is_exact(pins: dict[str, Requirement]) -> None:
    for pin in pins.values():
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), pin


@pytest.mark.parametrize("requirement", asked_for("train", "tfp", "demo", "dev"), ids=str)
def test_pin_is_in_the_range_of_pyproject(requirement: Requirement, pins: dict[str, Requirement]) -> None:
    (pin,) = pins[canonicalize_name(requirement.name)].specifier
    assert requirement.specifier.contains(pin.version)


def test_every_pin_is_asked_for(pins: dict[str, Requirement]) -> None:
    asked = {canonicalize_name(r.name) for r in asked_for("train", "tfp", "demo", "dev")}
    assert set(pins) - asked == ONLY_PINNED
