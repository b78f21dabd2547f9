"""What must stay as the first version had it: identities, the first batch, runs and studies in format 1.

The golden values were made with that version (scripts/make_golden_core.py).
"""

import hashlib
import json
import platform
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import rescale
from rescale import machine
from rescale.data import Loading, open_data
from rescale.models import model_named
from rescale.recipes import NAMED, recipe, resolve
from rescale.report import gather, write_report
from rescale.tasks import task_of
from rescale.training import Run, evaluate_folder, resume
from rescale.training.begin import identity

GOLDEN = Path(__file__).parent / "golden"
FORMAT_1 = GOLDEN / "format-1"
CORE = json.loads((GOLDEN / "core.json").read_text())


def test_network_identities() -> None:
    assert {name: rescale.network(name).identity for name in CORE["networks"]} == CORE["networks"]


@pytest.mark.parametrize("case", CORE["runs"])
def test_run_identities_of_equal_resolved_values(case: str) -> None:
    name, model, native = case.split(", ")
    chosen = NAMED[name].recipe.model_copy(update={"epochs": 350, "batch": 512})
    resolved = resolve(chosen, model_named(model), native_bf16=native == "True").recipe
    data = open_data("digits")
    assert data.digest == CORE["digits"]
    assert identity(model_named(model).with_classes(10), resolved, data.digest, 3) == CORE["runs"][case]


@pytest.mark.parametrize("name", CORE["batches"])
def test_the_first_batch(name: str) -> None:
    chosen = resolve(recipe(name), model_named("resnetrs50@32")).recipe
    data = open_data("digits")
    stream = task_of(chosen, data).stream(data.train, 32, Loading(batch=16, seed=5, epoch=2))
    batch = next(stream)
    digest = hashlib.sha256(batch.tensors["images"].contiguous().numpy().tobytes())
    for tensor in (batch.tensors["labels"], batch.indices):
        digest.update(tensor.numpy().tobytes())
    assert digest.hexdigest() == CORE["batches"][name]


def here() -> list[str]:
    """What the last bits of a training depend on."""
    flags = hashlib.sha256(" ".join(sorted(machine._cpu()["flags"])).encode()).hexdigest()[:16]
    return [machine._cpu()["name"], flags, torch.__version__, platform.python_version()]


def test_an_unfinished_run_of_format_1_is_resumed(tmp_path: Path) -> None:
    shutil.copytree(FORMAT_1 / "unfinished", tmp_path / "run")
    run, finished = resume(tmp_path / "run", quiet=True), Run.open(FORMAT_1 / "finished")
    weights, expected = (load_file(r.path / "model.safetensors") for r in (run, finished))
    if here() == CORE["finished"]["machine"]:
        digest = hashlib.sha256((run.path / "model.safetensors").read_bytes()).hexdigest()
        assert digest == CORE["finished"]["weights"]
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-2, atol=1e-4)
    without_times = [
        [{k: v for k, v in row.items() if k != "images_per_s"} for row in r.metrics()]
        for r in (run, finished)
    ]
    assert [row.keys() for row in without_times[0]] == [row.keys() for row in without_times[1]]
    if here() == CORE["finished"]["machine"]:
        assert without_times[0] == without_times[1]


def test_a_finished_run_of_format_1_is_evaluated() -> None:
    run = Run.open(FORMAT_1 / "finished")
    figures = evaluate_folder(run.path).figures
    stored = json.loads((run.path / "result.json").read_text())
    assert figures["top1"] == pytest.approx(stored["top1"], abs=0.3)
    assert figures["loss"] == pytest.approx(stored["loss"], rel=1e-3)


def test_a_study_of_format_1_is_reported(tmp_path: Path) -> None:
    shutil.copytree(FORMAT_1 / "study", tmp_path / "study")
    rows = gather(tmp_path / "study").rows
    assert len(rows) == 2 and all(row.latency_s for row in rows)
    assert "top-1" in write_report(gather(tmp_path / "study"))["report.html"].read_text()
