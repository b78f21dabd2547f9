"""`--help` of every command at 80 columns: whole sentences in groups; the version; the shell's completion."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

import rescale
from rescale.cli.app import app
from rescale.cli.models import network_names
from rescale.layout import Column, fitting, table, width, wrapped


def commands(command=None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    command = command or typer.main.get_command(app)
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*words, name))


COMMANDS = list(commands())


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def help_of(*words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    return result.stdout


def docstring(words: tuple[str, ...]) -> str:
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    return command.help or ""


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_is_whole_and_fits(words: tuple[str, ...]) -> None:
    text = help_of(*words)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    shown = " ".join(text.replace("\\\n", "").replace(":\n", ": ").split())
    for paragraph in re.sub(r"(?m)^ +", "", docstring(words)).strip().split("\n\n"):
        assert " ".join(paragraph.split()) in shown  # no word is broken, no sentence cut
    assert sum(text.count(group) for group in ("\nOptions:\n", "\nArguments:\n")) >= 1


def test_every_command_is_described_in_a_group() -> None:
    text = help_of()
    for words in COMMANDS:
        if len(words) == 1:
            sentence = " ".join(docstring(words).split("\n\n")[0].split())
            assert f"{words[0]} {sentence}" in " ".join(text.split())
    groups = re.findall(r"^(\w+):$", text, re.MULTILINE)
    assert groups == ["Start", "Networks", "Training", "Time", "Studies", "Options"]


def test_the_paragraphs_of_train_are_apart() -> None:
    text = help_of("train")
    assert "\n  Example:\n    rescale train resnetrs50@160 --data path/to/images" in text
    assert "\n\n  With several GPUs:\n    torchrun --nproc-per-node 4" in text
    assert "\nExecution:\n  --device" in text


def test_the_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"rescale {rescale.__version__}\n")
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]


def test_the_shell_completes_commands_options_and_names() -> None:
    def completed(line: str) -> list[str]:
        words = {"COMP_WORDS": f"rescale {line}", "COMP_CWORD": str(len(line.split(" ")))}
        code = (
            "import sys; sys.argv = ['rescale']\nfrom rescale.cli import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
        )
        environment = {**os.environ, **words, "_RESCALE_COMPLETE": "complete_bash"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert completed("tr") == ["train"]
    assert completed("train --we") == ["--weights"]
    assert completed("cost resnetrs1") == ["resnetrs101", "resnetrs152"]


def test_names_of_networks_are_completed() -> None:
    assert network_names("resnext152") == ["resnext152_32x4d"] and not network_names("nothing")


def test_lines_are_broken_between_words(monkeypatch) -> None:
    path = "/a/folder/" + "x" * 90
    text = wrapped(f"written: {path} and speed-accuracy", "  ")
    assert text.splitlines() == ["written:", f"  {path}", "  and speed-accuracy"]
    assert wrapped("a b\nc", "  ", first="- ") == "- a b\n  c"
    monkeypatch.setenv("COLUMNS", "132")
    assert width() == 132


def test_columns_that_do_not_fit_are_left_out_and_named() -> None:
    columns = [
        Column("network", ["resnet50", "b"], left=True),
        Column("params\n(M)", ["25.6", "1.0"], rank=2),
        Column("activations\n(M)", ["11.3", "1.0"], name="acts", rank=1),
        Column("time\n(ms)", ["10", "1"]),
    ]
    assert fitting(columns, line_width=80) == columns
    assert table(columns, 80).splitlines()[2] == "resnet50   25.6        11.3   10"
    narrow = table(columns, 20)
    assert max(map(len, narrow.splitlines())) <= 20
    assert " ".join(narrow.split()).endswith("Left out for lack of space: params, acts.")
    assert fitting(columns, line_width=5) == [columns[0], columns[3]]  # the others are never left out
