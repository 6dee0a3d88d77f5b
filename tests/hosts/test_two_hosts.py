"""A training over ssh on two hosts, where there are root, network namespaces and an ssh server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts.two_hosts import missing

SCRIPT = Path(__file__).with_name("two_hosts.py")


@pytest.mark.slow
def test_a_training_on_two_hosts_leaves_nothing_behind():
    if reason := missing():
        pytest.skip(f"two hosts: {reason}")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    assert "2 worker(s) with 8 images a step, 6 steps an epoch" in said
    assert "3 epochs with 2 ranks on two hosts" in said
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert f"glow{process.pid}" not in left
    assert not list(Path("/etc").glob(f"netns/glow{process.pid}*"))
