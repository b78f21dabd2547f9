"""Every rescale command that a document shows is run, with small data and networks put in its place."""

import re
import shlex
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fake_runtime import runtime
from rescale.cli import main
from rescale.lookup import network
from rescale.models import build

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SHOWN = re.compile(r"^    (rescale .*?)(?:  +#.*)?$", re.MULTILINE)

WRITTEN = re.compile(r"^    rescale .* (?:--out|-o) (\S+)", re.MULTILINE)
FILE = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)  # its name in the first line
MODULE = re.compile(r"^    # mine\.py\n(?:    .*\n|\n(?=    ))+", re.MULTILINE)  # a file that the guide shows

SMALLER = (  # of commands that train or time; patterns in order
    (r"timm:resnet50\b(@\d+)?", "timm:resnet10t@32"),
    (r"resnetrs101@160", "resnetrs1-1-1x0.125@32"),
    (r"resnetrs50@160|resnetrs26x0.25@(32|64)", "resnetrs1-1x0.125@32"),
    (r"resnet26x0.25((\+\w+)*)@32", r"resnet1-1x0.125\1@32"),
    (r"epochs=\d+", "epochs=1"),
    (r"steps=\d+", "steps=2"),
    (r"batch=\d+", "batch=16"),
    (r"--seeds \d+", "--seeds 1"),
    (r"seeds: \d+", "seeds: 1"),
    (r"--batch \d+", "--batch 2"),
)
HEAVY = ("train", "study", "bench")
ELSEWHERE = (  # run by test_quickstart.py, test_runtime_commands.py and test_kinds.py
    "rescale quickstart", "rescale calibrate", "rescale study --list",
)  # fmt: skip


def chapters(document: Path) -> list[str]:
    """The sections of a document; those that use what an earlier one writes are one chapter with it."""
    joined: list[tuple[str, set[str]]] = []
    for section in re.split(r"^(?=## )", document.read_text(), flags=re.MULTILINE):
        texts, written = [section], set(WRITTEN.findall(section))
        for earlier in [chapter for chapter in joined if any(name in section for name in chapter[1])]:
            joined.remove(earlier)
            texts, written = [earlier[0], *texts], written | earlier[1]
        joined.append(("".join(texts), written))
    return [text for text, _ in joined if SHOWN.search(text)]


def reduced(text: str) -> str:
    for pattern, by in SMALLER:
        text = re.sub(pattern, by, text)
    return text


def smaller(command: str) -> str:
    if command.split()[1] in HEAVY:
        command = reduced(command)
        command = re.sub(r"--models (candidates|within-20ms)", "--models resnetrs1-1x0.125@32", command)
        if command.split()[1:3] == ["study", "pareto"] and "--set" not in command:
            command += " --set epochs=1 --set batch=16"
    return command


@pytest.fixture
def somewhere(tmp_path, monkeypatch) -> Path:
    """A folder with the user's images."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 4)):
        for name in ("cat", "dog"):
            folder = tmp_path / "path" / "to" / "images" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "cifar-500").symlink_to(tmp_path / "path" / "to" / "images")  # of docs/results
    for name in ("device.json", "one-core.json"):
        runtime().write(tmp_path / name)
    (tmp_path / "mine.py").write_text(textwrap.dedent(MODULE.search((ROOT / "docs/guide.md").read_text())[0]))
    torch.save(build(network("resnet50")).state_dict(), tmp_path / "weights.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "chapter",
    [
        pytest.param(
            text,
            id=f"{document.name}-{text.strip().splitlines()[0].strip('# ')}",
            marks=[pytest.mark.slow] * (document.parent.name == "results"),
        )
        for document in DOCUMENTS
        for text in chapters(document)
    ],
)
def test_commands_of(chapter: str, somewhere: Path, monkeypatch, capfd) -> None:
    for name, content in FILE.findall(chapter):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(reduced(content))
    for shown in SHOWN.findall(chapter):
        if shown.startswith(ELSEWHERE) or "COMMAND" in shown:
            continue
        monkeypatch.setattr(sys, "argv", shlex.split(smaller(shown)))
        with pytest.raises(SystemExit) as ended:
            main()
            sys.exit(0)
        assert not ended.value.code, f"{shown}\n{capfd.readouterr().err}"


def test_documents_show_commands() -> None:
    shown = [len(SHOWN.findall(document.read_text())) for document in DOCUMENTS]
    in_chapters = [SHOWN.findall(chapter) for document in DOCUMENTS for chapter in chapters(document)]
    assert sum(shown) == sum(map(len, in_chapters)) > 15


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_files_named_exist(document: Path) -> None:
    text = document.read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), link
