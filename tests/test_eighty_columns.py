"""Every table, note and bar at 80 columns: no line is longer, no word is cut."""

import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

import fake_study
from fake_runtime import runtime
from rescale.cli import main
from rescale.cli.app import app
from rescale.figure import Figure
from rescale.recipes import NAMED
from rescale.report import gather, table
from rescale.report.runtime import errors_table
from rescale.report.tables import timing_table
from rescale.studies.display import Display as StudyDisplay
from rescale.training.format_1 import TOP_1
from rescale.training.progress import Display as TrainingDisplay

LONG = "regnety_d25w24a20.1m2.746g16@112"


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    runtime().write(tmp_path / "device.json")
    monkeypatch.chdir(tmp_path)


def check(text: str) -> None:
    assert text.strip()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def drawn(value: object) -> str:
    screen = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    with screen.capture() as captured:
        screen.print(value)
    return captured.get()


PRINTED = [
    "models",
    "models resnet*",
    f"cost resnetrs152@256 {LONG} --batch 32 --device device.json",
    "cost timm:test_resnet@32 --batch 32 --device device.json",
    "show resnetrs152@256",
    f"show regnety_500mf {LONG}",
    "scale regnety_500mf --factor 4",
    "scale regnety_500mf --macs 4G",
    "scale regnety_500mf --table",
    "scale regnety_500mf --latency 20ms --device device.json --no-measure",
    "search regnety --macs 400M --samples 3",
    "search regnety --latency 20ms --device device.json --samples 3 --no-measure",
    "recipes",
    *(f"recipes {name} --model resnetrs152@256 --images 50000" for name in NAMED),
    "recipes resnet-rs resnet-2015",
    "data info digits",
]


@pytest.mark.parametrize("line", PRINTED)
def test_commands(line: str) -> None:
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, result.exception
    check(result.stdout)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_errors_are_broken_on_a_terminal_and_whole_elsewhere(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rescale", "scale", "regnety_500mf", "--macs", "1e30"])
    shown = []
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with pytest.raises(SystemExit):
            main()
        shown.append(stream.getvalue())
    check(shown[0])
    assert len(shown[1].splitlines()) == 1 and len(shown[1]) > 80 and shown[1].split() == shown[0].split()


def test_nothing_is_dropped_without_being_named() -> None:
    result = CliRunner().invoke(app, f"cost {LONG} --batch 99999 --device device.json".split())
    check(result.stdout)
    assert "Left out for lack of space: acts." in result.stdout


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    fake_study.fake_study(tmp_path / "study")
    return tmp_path / "study"


def test_the_table_of_a_study(study: Path) -> None:
    text = drawn(table(gather(study)))
    check(text)
    for name in fake_study.NETWORKS:
        assert name in text  # whole
    assert "Left out for lack of space: images/s, memory." in " ".join(text.split())


def test_what_a_study_prints(study: Path, capsys) -> None:
    from rescale.cli.report import show_report

    show_report(study, as_json=False)
    text = "\n".join(line for line in capsys.readouterr().out.splitlines() if not line.startswith(str(study)))
    check(text)


def test_the_table_of_timings() -> None:
    timing = fake_study.timing(LONG, 0.03)
    timing = replace(timing, settings={**timing.settings, "repeats": 15})
    text = drawn(timing_table([timing, replace(timing, model="timm:mobilenetv3_small_050@32")]))
    check(text)
    assert LONG in text and "Left out for lack of space: px, memory." in " ".join(text.split())


def test_the_table_of_a_calibration() -> None:
    check(drawn(errors_table(runtime())))


def test_the_bar_of_a_training(monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    for name in ("resnet50@96", LONG):
        display = TrainingDisplay(name, 109_475, 312, TOP_1, quiet=False)
        result = SimpleNamespace(loss=2.345, sums={TOP_1.name: (98.12, 1.0)})
        display.step(99_999, result, 12_345)  # type: ignore[arg-type]
        text = drawn(display.bar)
        check(text)
        assert len(text.splitlines()) == 1 and "109475" in text and "12345 images/s" in text
        assert "━" in text and (name in text) == (name != LONG)


def test_the_bars_of_a_study(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    plan = fake_study.plan({LONG: (90.0, 1.0)})
    display = StudyDisplay(plan)
    display.started(plan.items[0], tmp_path)
    figure = Figure("top1", "top-1", "%")
    display.bars.update(display.tasks[plan.items[0]], completed=100, total=350, note=figure.text(98.123))
    text = drawn(display.bars)
    check(text)
    assert f"{LONG} seed 0" in text and "100/350" in text and "98.1" in text and "━" in text
