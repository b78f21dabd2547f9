"""The progress of a command: on a terminal a bar, elsewhere whole lines with the time."""

import io
import sys
import time

import pytest

from rescale.cli.progress import progress
from rescale.duration import clock, remaining


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """The time that the monotonic clock shows, in a list of one."""
    shown = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: shown[0])
    return shown


def test_without_a_terminal_there_is_a_line_every_ten_seconds_and_a_last_one(now, capsys) -> None:
    with progress("visits") as advance:
        for done in range(31):
            advance(done, 30, "")
            now[0] += 4.0
    assert capsys.readouterr().err.splitlines()[:2] == [
        "visits: 3 of 30, after 0:12, about 1:48 left",
        "visits: 6 of 30, after 0:24, about 1:36 left",
    ]


def test_each_result_has_its_line_and_the_last_part_too(now, capsys) -> None:
    with progress("timing") as advance:
        for done, result in enumerate(("resnet50 12 ms", "[odd] 3 ms", ""), start=1):
            now[0] += 1.0
            advance(done, 3, result)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.splitlines() == [
        "timing: 1 of 3: resnet50 12 ms, after 0:01, about 0:02 left",
        "timing: 2 of 3: [odd] 3 ms, after 0:02, about 0:01 left",
        "timing: 3 of 3, after 0:03",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_bar_and_each_result(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("timing") as advance:
        advance(1, 2, "[odd] 3 ms")
    text = terminal.getvalue()
    assert "\x1b[" in text and "1/2" in text and "[odd] 3 ms" in text


def test_minutes_and_hours() -> None:
    assert [clock(x) for x in (0.4, 59.6, 75, 3675)] == ["0:00", "1:00", "1:15", "1:01:15"]


def test_what_remains_is_estimated_from_what_is_done() -> None:
    assert remaining(60, 1.5, 4) == "about 1:40 left"
    assert remaining(60, 0, 4) == remaining(60, 4, 4) == ""
