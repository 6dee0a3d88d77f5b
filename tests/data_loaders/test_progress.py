"""Progress bars and the plain lines in their place."""

from __future__ import annotations

import io
import sys

import pytest

from data_loaders import progress
from data_loaders.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that tests set."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_every_ten_seconds_but_not_at_the_end(capsys, clock):
    with Progress("decoding", 100, done=20) as bar:
        for seconds, n in ((1, 10), (10, 20), (1, 10), (14, 30), (20, 10)):
            clock[0] += seconds
            bar.update(n, f"{n} more")
    assert capsys.readouterr().err.splitlines() == [
        "decoding: 50 of 100 images, 0:18 left, 20 more",
        "decoding: 90 of 100 images, 0:04 left, 30 more",
    ]


def test_bytes_are_shown_in_megabytes(capsys, clock):
    bar = Progress("downloading", 3_000_000, "B")
    clock[0] += 20
    bar.update(1_000_000)
    assert capsys.readouterr().err == "downloading: 1 of 3 MB, 0:40 left\n"


def test_a_total_that_is_not_known(capsys, clock):
    with Progress("listing", None, "file") as bar:
        clock[0] += 20
        bar.update(4096)
    assert capsys.readouterr().err == "listing: 4096 files\n"


def test_nothing_is_shown_where_it_is_not_to_be(capsys, clock):
    with Progress("encoding", 2, shown=False) as bar:
        clock[0] += 60
        bar.update(1, lambda: pytest.fail("computed for nothing"))
        bar.say("a line")
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal_with_lines_above_it(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("training", 4, "step") as bar:
        monkeypatch.setattr(progress, "_REMARK_SECONDS", 0.0)
        bar.update(1, "3.2 bits/dim")
        bar.say("a line")
        bar.update(3)
    drawn = terminal.getvalue()
    assert "training:  25%" in drawn and "3.2 bits/dim" in drawn
    assert capsys.readouterr().out == "a line\n"


def test_without_tqdm_terminals_have_plain_lines(monkeypatch, clock):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("encoding", 3) as bar:
        clock[0] += 30
        bar.update(1)
    assert terminal.getvalue() == "encoding: 1 of 3 images, 1:00 left\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (172_800, "2 days"), (172_799, "47:59:59")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
