"""The command line as a whole: quick answers, one line for errors, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glow_tf.commands import COMMANDS, _one_line, main, make_parser
from tests.commands.conftest import picture

ROOT = Path(__file__).resolve().parents[2]


def program(*words):
    """A real run, without a wish for TensorFlow's remarks; it has the time that a busy machine needs."""
    command = [sys.executable, "-m", "glow_tf", *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_a_doc_line(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    assert exit.value.code == 0
    assert f"python -m glow_tf {command}" in capsys.readouterr().out


def test_wrong_arguments_are_answered_before_tensorflow_is_imported():
    code = (
        "import sys\n"
        "from glow_tf.commands import main\n"
        "for words in ('sample nowhere', 'evaluate nowhere', 'import-openai nowhere --config x --out y'):\n"
        "    assert main(words.split()) == 2\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 3


def test_a_real_run(models, tmp_path):
    done = program("sample", models / "run", "--n", 4, "--out", tmp_path / "s.png")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("sampling: ")] == []
    assert done.stdout == f"{tmp_path / 's.png'}: 4 samples, temperature 0.7, seed 0; raw weights after step 7\n"
    assert picture(tmp_path / "s.png").shape == (68, 68)  # 2 x 2 images of 8 x 8, a gap, all enlarged 4 times


def test_a_real_error(models, tmp_path):
    (tmp_path / "x.png").write_bytes(b"nonsense")
    done = program("reconstruct", models / "run", tmp_path / "x.png")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"python -m glow_tf: error: {tmp_path / 'x.png'} is no PNG or JPEG image\n"


def test_ctrl_c_while_a_file_is_written_leaves_what_was_there(models, tmp_path, monkeypatch, capsys):
    def stopped(picture, path, *_, **__):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    out = tmp_path / "s.png"
    out.write_bytes(b"before")
    monkeypatch.setattr("PIL.Image.Image.save", stopped)
    assert main(["sample", str(models / "rgb"), "--n", "1", "--out", str(out)]) == 130
    assert capsys.readouterr().err == "python -m glow_tf: stopped\n"
    assert out.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [out]


def test_no_command(error):
    assert "required: COMMAND" in error()
    assert "invalid choice: 'dance'" in error("dance")


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (ValueError("2 of 3:\n  a\n  b\nStop."), "2 of 3: a; b; Stop."),
        (ValueError(""), "ValueError"),
        (FileNotFoundError(2, "No such file", "x"), "x: No such file"),
        (OSError("disk full"), "disk full"),
    ],
)
def test_errors_become_one_line(raised, line):
    assert _one_line(raised) == line


@pytest.mark.parametrize("raised", [MemoryError(), ImportError("No module named 'tqdm'"), KeyboardInterrupt()])
def test_what_else_may_happen(models, monkeypatch, capsys, raised):
    def fail(args):
        raise raised

    module = make_parser().parse_args(["sample", str(models / "rgb")]).module
    monkeypatch.setattr(module, "run", fail)
    assert main(["sample", str(models / "rgb")]) == (130 if isinstance(raised, KeyboardInterrupt) else 2)
    assert len(capsys.readouterr().err.splitlines()) == 1
