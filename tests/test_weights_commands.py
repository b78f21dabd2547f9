"""rescale import, rescale export-weights: what others wrote comes in, and what goes out they load equal."""

import json

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from rescale.cli.app import app
from rescale.errors import UserError
from rescale.lookup import names, network
from rescale.models import build, load_weights
from rescale.models.weights.export import architecture, export_weights
from test_models import randomise

MIDDLE = (0.5, 0.5, 0.5)


def run(*words: str) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception:
        raise result.exception
    return result.stdout


def outputs(model: torch.nn.Module, size: int) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    "name", ["resnetrs50@64", "resnet26@64", "resnext50_32x4d@64", "regnety_002@64", "regnetx_004_tv@64",
             "efficientnet_b0@64", "tf_efficientnet_b0@65", "resnetrs2-2-1-1@64"],
)  # fmt: skip
def test_timm_loads_what_is_exported(name: str, tmp_path) -> None:
    model = randomise(build(network(name), num_classes=5))
    notes = export_weights(model, tmp_path / "out", MIDDLE, MIDDLE, classes="abcde")
    assert any("loads it" in note for note in notes)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    ours = outputs(model, model.network.resolution)
    assert (outputs(theirs, model.network.resolution) - ours).abs().max() <= 1e-4 * ours.abs().max()
    assert theirs.pretrained_cfg["label_names"] == list("abcde")
    assert theirs.pretrained_cfg["mean"] == list(MIDDLE)


def test_every_name_that_timm_has_is_found_there() -> None:
    in_timm = set(timm.list_models()) & set(names())
    assert len(in_timm) > 50
    for name in in_timm - {"regnetz_005"}:
        assert architecture(network(name)).name == name


def test_networks_that_timm_lacks_are_refused(tmp_path) -> None:
    for name in ("regnety_500mf-dWr-4@64", "resnet26+se@64", "regnetz_500mf@64"):
        with pytest.raises(UserError, match="timm has no network of this structure"):
            export_weights(build(network(name)), tmp_path / "out", MIDDLE, MIDDLE)
        assert not (tmp_path / "out").exists()


def test_import_then_export(tmp_path) -> None:
    theirs = randomise(torchvision.models.regnet_x_400mf())
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    text = run("import", tmp_path / "x.pth", "--model", "regnetx_004_tv@64", "-o", tmp_path / "in")
    assert "tensors of regnetx_004_tv@64" in text
    ours = build(network(tmp_path / "in"))
    load_weights(ours, tmp_path / "in")
    assert torch.allclose(outputs(ours, 64), outputs(theirs, 64), rtol=1e-4, atol=1e-4)
    text = run("export-weights", tmp_path / "in", "-o", tmp_path / "timm")
    assert "architecture regnetx_004_tv" in text and "loads it" in text
    # and the folder that was written for timm comes back, its own name known
    run("import", tmp_path / "timm", "-o", tmp_path / "back")
    assert network(tmp_path / "back").resolution == 64
    first, second = (load_file(tmp_path / part / "model.safetensors") for part in ("in", "back"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_import_with_another_head(tmp_path) -> None:
    save_file(randomise(timm.create_model("resnet26")).state_dict(), tmp_path / "a.safetensors")
    words = ["import", tmp_path / "a.safetensors", "--model", "resnet26@64", "--classes", "3"]
    text = run(*words, "-o", tmp_path / "in")
    assert "head of 1000 classes was left out" in text
    assert network(tmp_path / "in").head.classes == 3
    (report,) = json.loads(run(*words, "-o", tmp_path / "again", "--json"))
    assert report["notes"] and report["name"] == "resnet26@64"


def test_bad_input_gets_one_line(tmp_path) -> None:
    save_file(timm.create_model("resnet26").state_dict(), tmp_path / "a.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:5000])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text("{}")
    good = ["import", tmp_path / "a.safetensors", "--model", "resnet26"]
    cases = [
        ([*good], "needs --out"),
        ([*good, "-o", tmp_path / "full"], "holds something else"),
        (["import", tmp_path / "cut.safetensors", "--model", "resnet26", "-o", tmp_path / "o"], "damaged"),
        (
            ["import", tmp_path / "a.safetensors", "--model", "resnet50", "-o", tmp_path / "o"],
            "tensors differ",
        ),
        (["import", tmp_path / "none.pth", "--model", "resnet26", "-o", tmp_path / "o"], "no such file"),
        (["import", tmp_path / "a.safetensors", "-o", tmp_path / "o"], "give --model"),
        (["import", tmp_path / "odd", "-o", tmp_path / "o"], "names no architecture"),
        (["export-weights", tmp_path / "empty", "-o", tmp_path / "o"], "holds no run.json"),
    ]
    for words, message in cases:
        with pytest.raises(UserError) as caught:
            run(*words)
        assert message in str(caught.value) and len(caught.value.lines) == 1
        assert not (tmp_path / "o").exists()
