"""Model folders: round trips, runs of format 1, and one line for every mistake."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rescale.data import open_data
from rescale.errors import JobError, UserError
from rescale.lookup import network
from rescale.models import External, make
from rescale.models.folder import ModelFolder, write
from rescale.preprocess import BEFORE, Preprocess
from rescale.training import Run, resume
from test_models import randomise

FORMAT_1 = Path(__file__).parent / "golden" / "format-1"
PREPROCESS = Preprocess((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 32, 0.9, "bilinear", ("a", "b", "c"))
MODELS = {
    "ours": network("resnet26x0.25@32").with_classes(3),
    "timm": External("timm:resnet10t@32", 32, 3),
    "python": External("python:torchvision.models:shufflenet_v2_x0_5@32", 32, 3),
}


def outputs(module: nn.Module) -> torch.Tensor:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return module.eval()(images)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("averaged", [True, False, None])
def test_a_written_folder_is_read_back(kind: str, averaged: bool | None, tmp_path: Path) -> None:
    model = MODELS[kind]
    module = randomise(make(model)[0])
    folder = write(tmp_path / "a" / "b", model, module.state_dict(), PREPROCESS, averaged)
    assert folder == ModelFolder.open(tmp_path / "a" / "b")
    assert (folder.model, folder.preprocess, folder.averaged) == (model, PREPROCESS, averaged)
    description = "network.yaml" if kind == "ours" else "external.json"
    assert {file.name for file in folder.path.iterdir()} == {
        description, "model.safetensors", "preprocess.json"
    }  # fmt: skip
    weights = folder.path / "model.safetensors"
    assert folder.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    state, tensors = module.state_dict(), folder.tensors()
    assert tensors.keys() == state.keys() and all(torch.equal(tensors[name], state[name]) for name in state)
    loaded = folder.load()
    assert not loaded.training and torch.equal(outputs(loaded), outputs(module))


def test_a_finished_run_of_format_1_is_a_model_folder() -> None:
    folder, run = ModelFolder.open(FORMAT_1 / "finished"), Run.open(FORMAT_1 / "finished")
    assert folder.model == run.model and folder.averaged is True
    data = open_data("digits")
    assert folder.preprocess == Preprocess(
        tuple(data.mean),
        tuple(data.std),
        8,
        run.recipe.eval_crop,
        run.recipe.interpolation,
        data.classes,
        BEFORE.orientation,
        BEFORE.ranges,
    )
    assert run.recipe.orientation == "stored"
    images = torch.randn(2, 3, 8, 8)
    expected, _ = make(run.model)
    expected.load_state_dict(load_file(run.path / "model.safetensors"))
    with torch.no_grad():
        assert torch.equal(folder.load()(images), expected.eval()(images))


def test_a_run_that_has_not_finished(tmp_path: Path) -> None:
    shutil.copytree(FORMAT_1 / "unfinished", tmp_path / "run")
    with pytest.raises(UserError, match=r"has not finished; continue it with: rescale train --resume"):
        ModelFolder.open(tmp_path / "run")
    resume(tmp_path / "run")
    assert ModelFolder.open(tmp_path / "run").preprocess


def test_missing_and_damaged_files_are_reported(tmp_path: Path) -> None:
    model = MODELS["ours"]
    state = make(model)[0].state_dict()
    path = tmp_path / "folder"

    def refused(message: str, call=lambda: ModelFolder.open(path)) -> None:
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert len(caught.value.lines) == 1 and "\n" not in str(caught.value)

    refused("folder: no such folder")
    path.mkdir()
    refused("has no network.yaml or external.json")
    folder = write(path, model, state, PREPROCESS)
    (path / "preprocess.json").unlink()
    assert ModelFolder.open(path).preprocess is None
    (path / "preprocess.json").write_text("{}")
    with pytest.raises(UserError, match=r"preprocess.json: mean is missing"):
        folder.preprocess  # noqa: B018
    weights = path / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-5])
    refused("damaged or not safetensors", folder.load)
    refused("damaged or not safetensors", lambda: folder.averaged)
    save_file({**state, "extra": torch.ones(2)}, weights)
    refused("not weights of resnet26x0.25@32: 1 of .* extra: unknown here", folder.load)
    weights.unlink()
    refused("has no model.safetensors")
    (path / "network.yaml").unlink()
    for text in ("{", "[]", '{"name": 1}', '{"name": "a", "resolution": 2, "depth": 3}'):
        (path / "external.json").write_text(text)
        refused("external.json: must hold name, resolution and classes", lambda: folder.model)


def test_a_run_without_its_normalisation_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(FORMAT_1 / "finished", path)
    data = json.loads((path / "data.json").read_text())
    del data["mean"]
    (path / "data.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"its preprocessing is missing or incomplete .*KeyError: 'mean'"):
        ModelFolder.open(path).preprocess  # noqa: B018


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(JobError, match="cannot be created"):
        write(tmp_path / "file" / "in", MODELS["ours"], {}, PREPROCESS)


def test_tensors_that_share_memory_are_stored(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    state = {"a": shared, "b": shared, "c": shared[1:], "d": torch.ones(2, 3).T}
    write(tmp_path, MODELS["timm"], state, PREPROCESS)
    stored = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(stored[name], state[name]) for name in state)


def test_a_model_with_its_average_inside_is_read_whole(tmp_path: Path) -> None:
    """A folder's tensors are those of its module; nothing is chosen among them by name."""
    one = make(network("resnet26x0.25@32").with_classes(3))[0].state_dict()
    parts = ("net", "net_ema")
    tensors = {f"{part}.{name}": tensor.clone() for part in parts for name, tensor in one.items()}
    write(tmp_path / "a", MODELS["ours"], tensors, PREPROCESS)
    assert ModelFolder.open(tmp_path / "a").tensors().keys() == tensors.keys()
