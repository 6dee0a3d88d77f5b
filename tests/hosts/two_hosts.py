"""A training on two hosts that are two network namespaces: `sudo python tests/hosts/two_hosts.py`.

Each has an address and an ssh server of its own, and the other's name in its /etc/hosts. horovodrun is started on the
first and reaches the second over ssh, as it would another machine. What is made for this is removed again, also when it
fails or is stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"ip": "iproute2", "ssh": "openssh-client", "ssh-keygen": "openssh-client", "sshd": "openssh-server"}
PATHS = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
FLAGS = (
    "--problem digits --n_levels 2 --depth 2 --width 16 --anchor_size 8 --n_train 96 --n_batch_train 8 --n_test 70"
    " --epochs 3 --epochs_full_valid 3 --polyak_epochs 10"
).split()


def missing() -> str | None:
    """Why this cannot run here; None where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=PATHS) is None:
            return f"there is no {program} (Debian: apt-get install {package})"
    if shutil.which("horovodrun", path=PATHS) is None or importlib.util.find_spec("horovod") is None:
        return "Horovod is not installed (make env)"
    probe = subprocess.run(["ip", "netns", "list"], capture_output=True, env={"PATH": PATHS})
    namespace = f"glow-probe-{os.getpid()}"
    if probe.returncode or subprocess.run(["ip", "netns", "add", namespace], capture_output=True).returncode:
        return "network namespaces are not permitted here"
    run("ip", "netns", "delete", namespace)
    return None


def run(*command: str) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": PATHS})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr or done.stdout}")
    return done.stdout


@contextlib.contextmanager
def two_hosts(folder: Path) -> Iterator[list[str]]:
    """The names of two namespaces, in which the hosts are called node1 and node2; `folder` holds their keys.

    A host must know its own name: where it cannot be resolved, Horovod 0.28.1 ends in a segmentation fault.
    """
    names = [f"glow{os.getpid()}-{host}" for host in ("node1", "node2")]
    with contextlib.ExitStack() as undo:
        for key in ("host", "user"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key))
        for path in (Path("/run/sshd"), Path("/etc/netns")):  # sshd wants the one, the other may not be there either
            if not path.exists():
                path.mkdir()
                undo.callback(path.rmdir)
        for name in names:
            run("ip", "netns", "add", name)
            undo.callback(run, "ip", "netns", "delete", name)
            undo.callback(end_all_in, name)
        run("ip", "link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for number, name in enumerate(names, 1):
            run("ip", "-n", name, "address", "add", f"10.213.77.{number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                run("ip", "-n", name, "link", "set", device, "up")
            etc = Path("/etc/netns") / name  # what is in here stands in for /etc there
            undo.callback(shutil.rmtree, etc)
            write_settings(etc, folder)
            server = [*inside(name), shutil.which("sshd", path=PATHS) or "", "-D", "-e"]
            with (folder / f"sshd{number}.log").open("w") as log:
                process = subprocess.Popen([*server, "-f", str(etc / "ssh/sshd_config")], stderr=log)
            undo.callback(process.wait)
            undo.callback(process.terminate)
        yield names


def inside(name: str) -> list[str]:
    """What begins a command that is to run on a host, under its own host name."""
    set_name = f'hostname {name.rsplit("-", 1)[1]} && exec "$@"'
    return ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", set_name, "sh"]


def write_settings(etc: Path, folder: Path) -> None:
    """A host's names and what ssh and sshd are to do there; nothing of root's own keys is used."""
    (etc / "ssh").mkdir(parents=True)
    (etc / "hosts").write_text("127.0.0.1 localhost\n10.213.77.1 node1\n10.213.77.2 node2\n")
    (etc / "ssh/ssh_config").write_text(
        f"IdentityFile {folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\nLogLevel ERROR\n"
    )
    (etc / "ssh/sshd_config").write_text(
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\nPidFile none\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )


def end_all_in(name: str) -> None:
    """Kills what still runs in a namespace of ours."""
    for pid in run("ip", "netns", "pids", name).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def received(name: str) -> int:
    """Bytes that a host has got over its network."""
    (device,) = json.loads(run("ip", "-n", name, "-s", "-j", "link", "show", "eth0"))
    return int(device["stats64"]["rx"]["bytes"])


def train(names: list[str], logdir: Path, per_host: int, seconds: float) -> str:
    """What horovodrun says of a training on both hosts."""
    launcher = [*inside(names[0]), shutil.which("horovodrun", path=PATHS) or "", "--disable-cache"]
    hosts = ["-np", str(2 * per_host), "-H", f"node1:{per_host},node2:{per_host}"]
    command = [*launcher, *hosts, sys.executable, "train.py", *FLAGS, "--logdir", str(logdir)]
    environment = {**os.environ, "PATH": PATHS, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["HOROVOD_GLOO_TIMEOUT_SECONDS"] = str(int(seconds))  # ranks wait for each other's start
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
    if process.returncode:
        raise SystemExit(f"horovodrun failed:\n{said[-8000:]}")
    return said


def main() -> None:
    """Trains, and says what came of it."""
    parser = argparse.ArgumentParser(description="A training on two hosts that are network namespaces; needs root.")
    parser.add_argument("--per_host", type=int, default=1, help="processes on each host")
    parser.add_argument("--seconds", type=float, default=300, help="longest time for the training")
    args = parser.parse_args()
    if reason := missing():
        print(f"skipped: {reason}")
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that what is below is undone
    with tempfile.TemporaryDirectory() as folder, two_hosts(Path(folder)) as names:
        logdir = Path(folder) / "run"
        before = received(names[1])
        said = train(names, logdir, args.per_host, args.seconds)
        traffic = received(names[1]) - before
        epochs = [json.loads(line) for line in (logdir / "train.txt").read_text().splitlines()[1:]]
    print("\n".join(line for line in said.splitlines() if "<stdout>" in line))
    print(f"{len(epochs)} epochs with {2 * args.per_host} ranks on two hosts; {traffic / 1e6:.1f} MB reached node2")


if __name__ == "__main__":
    main()
