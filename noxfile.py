"""`make matrix`: the suite on every TensorFlow that pyproject.toml allows, and files of one read by another.

Each TensorFlow has an environment in .nox/, with a Python that it has wheels for; each such Python is there once at
least. The interpreters must be on PATH. `make matrix MATRIX=--list` lists the sessions; arguments after `--` go to
pytest:

    make matrix MATRIX="-s 'tests(2.16.2)' -- tests/layers -m 'not slow'"
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["tests", "exchange"]

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


@nox.session
@nox.parametrize("python,tensorflow,tfp", MATRIX, ids=IDS)
def tests(session: nox.Session, tensorflow: str, tfp: str) -> None:
    """Everything but what needs Horovod, which is skipped where it is not installed."""
    session.install(f"tensorflow=={tensorflow}", f"tensorflow-probability=={tfp}", "-e", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or ["-n", "2", "--dist", "worksteal"]))


@nox.session(venv_backend="none")
def exchange(session: nox.Session) -> None:
    """What the oldest TensorFlow writes the newest reads, and the other way round; `tests` makes the environments."""
    oldest, newest = (Path(".nox", f"tests-{IDS[i].replace('.', '-')}", "bin", "python").absolute() for i in (0, -1))
    for writer, reader in [(oldest, newest), (newest, oldest)]:
        folder = Path(session.create_tmp(), "exchange")
        shutil.rmtree(folder, ignore_errors=True)
        session.run(str(writer), "-m", "tests.storage.exchange", str(folder), external=True)
        test = [str(reader), "-m", "pytest", "tests/storage/test_exchange.py"]
        session.run(*test, env={"GLOW_TF_EXCHANGE": str(folder)}, external=True)
