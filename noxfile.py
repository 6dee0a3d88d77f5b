"""`make matrix`: the suite on every TensorFlow that pyproject.toml allows, and files of one read by another.

Each TensorFlow has an environment in .nox/, with a Python that it has wheels for; each such Python is there once at
least. The interpreters must be on PATH. `make matrix MATRIX=--list` lists the sessions; arguments after `--` go to
pytest:

    make matrix MATRIX="-s 'tests(2.16.2)' -- tests/layers -m 'not slow'"
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"  # uv, if it is there, takes seconds
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["tests", "exchange", "wheel"]

# Python, TensorFlow, TensorFlow Probability: 0.25 asks for TensorFlow 2.18. Oldest first.
MATRIX = [
    ("3.10", "2.16.2", "0.24.0"),
    ("3.11", "2.17.1", "0.24.0"),
    ("3.12", "2.18.1", "0.25.0"),
    ("3.12", "2.19.1", "0.25.0"),
    ("3.13", "2.20.0", "0.25.0"),
    ("3.13", "2.21.0", "0.25.0"),
]
IDS = [tensorflow for _, tensorflow, _ in MATRIX]

# What is tested of a wheel: the packages, not train.py, the documents and the set-up, which are not in it.
LIBRARY = ["-n", "2", "--dist", "worksteal"]
LIBRARY += [f"tests/{name}" for name in ("bijectors", "data_loaders", "flow", "latents", "layers", "storage")]
LIBRARY += [f"tests/test_{name}.py" for name in ("config", "golden", "images", "inputs", "model")]


@nox.session
@nox.parametrize("python,tensorflow,tfp", MATRIX, ids=IDS)
def tests(session: nox.Session, tensorflow: str, tfp: str) -> None:
    """Everything but what needs Horovod, which is skipped where it is not installed."""
    session.install("pip", f"tensorflow=={tensorflow}", f"tensorflow-probability=={tfp}", "-e", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or ["-n", "2", "--dist", "worksteal"]))


@nox.session(venv_backend="none")
def exchange(session: nox.Session) -> None:
    """What the oldest TensorFlow writes the newest reads, and the other way round."""
    oldest, newest = IDS[0], IDS[-1]
    makes = ["--install-only", "-s", f"tests({oldest})", f"tests({newest})"]  # nothing where `tests` has run
    session.run(sys.executable, "-m", "nox", *makes, external=True)
    for writer, reader in [(oldest, newest), (newest, oldest)]:
        folder = Path(session.create_tmp(), "exchange")
        shutil.rmtree(folder, ignore_errors=True)
        session.run(interpreter(writer), "-m", "tests.storage.exchange", str(folder), external=True)
        test = [interpreter(reader), "-m", "pytest", "tests/storage/test_exchange.py"]
        session.run(*test, env={"GLOW_TF_EXCHANGE": str(folder)}, external=True)


def interpreter(tensorflow: str) -> str:
    """The Python of this TensorFlow's environment."""
    return str(Path(".nox", f"tests-{tensorflow.replace('.', '-')}", "bin", "python").absolute())


@nox.session(python="3.12")
def wheel(session: nox.Session) -> None:
    """The wheel with the newest of everything that it asks for, tested away from the checkout."""
    with tempfile.TemporaryDirectory() as name:
        away = Path(name)
        session.install("pip")
        session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", name, ".")
        (path,) = away.glob("*.whl")
        session.install("--force-reinstall", "--no-deps", str(path))
        session.install(f"{path}[test]")
        shutil.copytree("tests", away / "tests")
        shutil.copy("pyproject.toml", away)
        session.chdir(away)
        where = "import glow_tf, sysconfig; assert glow_tf.__file__.startswith(sysconfig.get_path('purelib'))"
        session.run("python", "-c", where, env={"PYTHONPATH": None})
        session.run("python", "-m", "pytest", *(session.posargs or LIBRARY), env={"PYTHONPATH": None})
