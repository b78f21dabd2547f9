"""Which device work is done on, and what is said where there is no such device."""

import pytest
import torch
from typer.testing import CliRunner

from rescale import machine
from rescale.cli.app import app
from rescale.errors import UserError


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch) -> None:
    gpus(monkeypatch, 2)
    assert machine.chosen_device("") == "cuda"
    assert [machine.chosen_device(text) for text in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]
    gpus(monkeypatch, 0)
    assert machine.chosen_device("") == "cpu"


@pytest.mark.parametrize(
    ("count", "device", "message"),
    [
        (0, "cuda", "no CUDA device"),
        (0, "cuda:0", "no CUDA device"),
        (2, "cuda:2", "this machine has 2 GPUs, numbered from 0"),
        (2, "cuda:x", "use cpu, cuda or cuda:N"),
        (2, "gpu", "use cpu, cuda or cuda:N"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, count: int, device: str, message: str) -> None:
    gpus(monkeypatch, count)
    with pytest.raises(UserError, match=message):
        machine.chosen_device(device)


@pytest.mark.parametrize(
    "words",
    [
        ("bench", "resnet26@32"),
        ("calibrate", "--out", "{folder}/device.json"),
        ("train", "resnet26@32", "--data", "digits", "--out", "{folder}/run"),
        ("study", "pareto", "--models", "resnet26@32", "--data", "digits", "--out", "{folder}/study"),
    ],
)
def test_every_command_refuses_it_before_it_begins(monkeypatch, tmp_path, words: tuple[str, ...]) -> None:
    gpus(monkeypatch, 0)
    asked = [word.format(folder=tmp_path) for word in words]
    result = CliRunner().invoke(app, [*asked, "--device", "cuda"])
    assert isinstance(result.exception, UserError), result.output
    assert "no CUDA device; use --device cpu" in str(result.exception)
    assert not list(tmp_path.iterdir())
