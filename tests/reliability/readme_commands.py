"""Runs every command of a page in a fresh clone, as it is written there: the README's, or another page's.

    python -m tests.reliability.readme_commands --photographs PHOTOGRAPHS --folder /tmp/clone

In capitals (PHOTOS) is what a reader fills in. The demo is stopped once its page answers. --quick gives the recipes
--dry_run, train.py's check of everything but the duration. Prints each command, its time, its exit code, and the end of
what it printed; ends with 1 if one failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SHELL = ("make ", "python ", "horovodrun ", "source ", "pip ")
_PAGE = "http://127.0.0.1:7860"


def blocks(page: str) -> Iterator[str]:
    """The indented blocks of a Markdown page, without their indentation."""
    block: list[str] = []
    for line in [*page.splitlines(), "end"]:
        if line.startswith("    ") or (block and not line.strip()):
            block.append(line[4:])
        elif block:
            yield "\n".join(block).strip("\n")
            block = []


def commands(page: str) -> Iterator[str]:
    """The shell commands and Python programs of a page; a program is a command of many lines."""
    for block in blocks(page):
        if block.startswith(_SHELL):
            joined = re.sub(r"\\\n\s*", "", block)
            yield from (re.sub(r"\s+#.*", "", line) for line in joined.splitlines() if line.startswith(_SHELL))
        elif block.startswith(("import ", "from ")):
            yield block


def run(command: str, clone: Path, log: Path) -> int:
    """The exit code of one command; its output goes to the log."""
    environment = {
        **os.environ,
        "PATH": f"{clone / '.venv/bin'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(clone / ".venv"),
    }
    environment.pop("PYTHONPATH", None)
    with log.open("w") as file:
        words = ["python", "-c", command] if "\n" in command else shlex.split(command)
        process = subprocess.Popen(words, cwd=clone, env=environment, stdout=file, stderr=subprocess.STDOUT)
        if " demo " in command:
            return _visit(process)
        return process.wait()


def _visit(process: subprocess.Popen[bytes]) -> int:
    """0 once the demo's page answers, within two minutes."""
    for _ in range(240):
        time.sleep(0.5)
        try:
            with urllib.request.urlopen(_PAGE, timeout=5) as answer:
                code = 0 if answer.status == 200 else 1
            break
        except OSError:
            code = 1
    process.terminate()
    process.wait()
    return code


def main() -> int:
    """Clones, runs and reports."""
    parser = argparse.ArgumentParser(description="Runs every command of the README in a fresh clone.")
    parser.add_argument("--page", default="README.md", help="another page (default README.md)")
    parser.add_argument("--folder", type=Path, required=True, help="where to clone to; an existing clone is used again")
    parser.add_argument("--photographs", default="", help="a folder of images, for PHOTOS")
    parser.add_argument("--quick", action="store_true", help="recipes with --dry_run")
    parser.add_argument("--skip", nargs="*", default=[], metavar="TEXT", help="no commands that hold one of these")
    args = parser.parse_args()
    if not args.folder.exists():
        subprocess.run(["git", "clone", "-q", str(ROOT), str(args.folder)], check=True)
    failed = 0
    for command in commands((ROOT / args.page).read_text(encoding="utf-8")):
        if command.startswith("source ") or any(text in command for text in args.skip):
            continue
        command = command.replace("PHOTOS", args.photographs)
        if args.quick and "train.py" in command and "--epochs" in command:
            command += " --dry_run"
        begin, log = time.monotonic(), args.folder / "readme.log"
        code = run(command, args.folder, log)
        failed += code != 0
        title = command.splitlines()[0] + (" ..." if "\n" in command else "")
        print(f"[{code}] {time.monotonic() - begin:5.0f} s  {title}")
        for line in log.read_text(errors="replace").splitlines()[-(20 if code else 2) :]:
            print(f"          {line[-150:]}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
