"""Every command line of OpenAI's README, run: `python -m tests.reliability.original_readme IMAGES`.

Makes OpenAI's data sets in small out of a folder of images (tests/original_data.py), then runs each line as it
is written there, with `horovodrun -np 2` for `mpiexec -n N`, for a few steps at reduced depth and width; with --full at
full depth and width with --dry_run, which takes up to seven minutes for each. Prints a line for every one and ends with
1 if one failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from tests.original_data import environment, make_all
from tests.original_lines import is_alone, lines

ROOT = Path(__file__).resolve().parents[2]
REDUCED = "--depth 1 --width 8 --steps 3 --n_batch_init 64 --n_test 8"
FULL = "--dry_run"


def command(name: str, flags: str, more: str, logdir: Path) -> list[str]:
    """The line, with our own flags behind it."""
    launcher = [] if is_alone(name) else [str(Path(sys.executable).parent / "horovodrun"), "-np", "2"]
    return [*launcher, sys.executable, "train.py", *flags.split(), *more.split(), "--logdir", str(logdir)]


def pictures(folder: Path, count: int) -> list[Image.Image]:
    """The first images of a folder, in 256x256."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))[:count]
    if len(paths) < 8:
        raise SystemExit(f"{folder} has {len(paths)} PNG and JPEG images; at least 8 are needed")
    return [Image.open(path).convert("RGB").resize((256, 256)) for path in paths]


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description="Runs every command line of OpenAI's README.")
    parser.add_argument("images", type=Path, help="folder of images, 256x256 or larger")
    parser.add_argument("--count", type=int, default=64, help="images to use (default 64)")
    parser.add_argument("--full", action="store_true", help="full depth and width, --dry_run")
    parser.add_argument("--every", action="store_true", help="every seed and LSUN category, not only the first")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the lines whose name holds this")
    parser.add_argument("--more", default="", metavar="FLAGS", help="further flags for train.py")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "original_readme", help="folder for data and logs")
    args = parser.parse_args()
    more = f"{FULL if args.full else REDUCED} {args.more}"
    data = args.out / "data"
    if not (data / "keras").exists():  # made last
        shutil.rmtree(data, ignore_errors=True)
        make_all(data, pictures(args.images, args.count))
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment(data)}
    failed = 0
    for name, flags in lines(every=args.every).items():
        if args.only not in name:
            continue
        logdir = args.out / ("full" if args.full else "reduced") / name
        shutil.rmtree(logdir, ignore_errors=True)
        begin = time.monotonic()
        line = command(name, flags, more, logdir)
        done = subprocess.run(line, cwd=ROOT, env=variables, capture_output=True, text=True)
        failed += done.returncode != 0
        said = done.stdout.strip().splitlines() or [""]
        print(f"{name}: exit {done.returncode}, {time.monotonic() - begin:.0f} s: {said[-1]}", flush=True)
        if done.returncode:
            print("\n".join((done.stdout + done.stderr).splitlines()[-20:]), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
