"""What `pip install .` installs, what `import glow_tf` imports, and which versions the two lists name."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from glow_tf import runtime

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# In requirements.txt for the sake of TensorFlow or Horovod, which ask for them themselves.
ONLY_PINNED = {
    *("keras", "protobuf", "ml-dtypes"),
    *("googleapis-common-protos", "setuptools", "wheel", "cloudpickle", "pyyaml", "cmake"),
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


@pytest.fixture(scope="module", params=["3.10", "3.11", "3.12", "3.13"])
def pins(request: pytest.FixtureRequest) -> dict[str, Requirement]:
    """requirements.txt as this Python reads it, by canonical name."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    read = [Requirement(text) for line in lines if (text := line.split("#")[0].strip())]
    found = [pin for pin in read if not pin.marker or pin.marker.evaluate({"python_version": request.param})]
    assert len({pin.name for pin in found}) == len(found)
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
    optional = ["tensorflow_probability", "tf_keras", "tensorflow_datasets", "horovod", "tqdm", "lmdb", "gradio"]
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
    extras = {"train", "tfp", "tfds", "demo", "experiments", "test", "dev"}
    assert set(PROJECT["optional-dependencies"]) == extras


def tensorflow_range() -> SpecifierSet:
    (found,) = [r.specifier for r in asked_for() if r.name == "tensorflow"]
    return found


@pytest.mark.parametrize("version", ["2.15.1", "2.16.0", "2.16.2", "2.21.0", "2.21.9", "2.22.0", "3.0.0", "1.15.5"])
def test_pip_and_import_take_the_same_tensorflow(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.metadata, "version", lambda name: version)
    if tensorflow_range().contains(version):
        runtime.check_tensorflow()
    else:
        with pytest.raises(ImportError, match=re.escape(f"glow_tf needs tensorflow>=2.16,<2.22, but {version} is ")):
            runtime.check_tensorflow()


def test_a_tensorflow_of_another_name_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise runtime.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(runtime.metadata, "version", missing)
    runtime.check_tensorflow()


def test_importing_glow_tf_names_the_range_before_tensorflow_is_imported() -> None:
    code = (
        "import sys; from importlib import metadata; metadata.version = lambda name: '2.15.1'\n"
        "try: import glow_tf.layers\n"
        "except ImportError as error: print(error)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    said = "glow_tf needs tensorflow>=2.16,<2.22, but 2.15.1 is installed: pip install 'tensorflow>=2.16,<2.22'\n"
    assert run_python(code, cwd=ROOT) == said


@pytest.fixture(scope="module")
def noxfile() -> Any:
    pytest.importorskip("nox")
    spec = importlib.util.spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_matrix_has_every_tensorflow_and_python(noxfile: Any) -> None:
    pythons, tensorflows, tfps = (set(column) for column in zip(*noxfile.MATRIX, strict=True))
    minors = {f"2.{minor}" for minor in range(40) if tensorflow_range().contains(f"2.{minor}.0")}
    assert {version.rpartition(".")[0] for version in tensorflows} == minors
    assert {f"Programming Language :: Python :: {python}" for python in pythons} <= set(PROJECT["classifiers"])
    assert pythons == {f"3.{n}" for n in range(40) if SpecifierSet(PROJECT["requires-python"]).contains(f"3.{n}")}
    (tfp,) = [r.specifier for r in asked_for("tfp") if r.name == "tensorflow-probability"]
    assert all(tfp.contains(version) for version in tfps)


def test_the_workflow_runs_the_whole_matrix(noxfile: Any) -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    sessions = [f"tests({tensorflow})" for tensorflow in noxfile.IDS] + ["exchange", "wheel"]
    assert [line[2:] for line in map(str.strip, workflow.splitlines()) if line[2:] in sessions] == sessions


def test_every_pin_is_exact(pins: dict[str, Requirement]) -> None:
    for pin in pins.values():
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), pin


EXTRAS = ("train", "tfp", "tfds", "demo", "experiments", "test", "dev")


@pytest.mark.parametrize("requirement", asked_for(*EXTRAS), ids=str)
def test_pin_is_in_the_range_of_pyproject(requirement: Requirement, pins: dict[str, Requirement]) -> None:
    (pin,) = pins[canonicalize_name(requirement.name)].specifier
    assert requirement.specifier.contains(pin.version)


def test_every_pin_is_asked_for(pins: dict[str, Requirement]) -> None:
    asked = {canonicalize_name(r.name) for r in asked_for(*EXTRAS)}
    assert set(pins) - asked == ONLY_PINNED
