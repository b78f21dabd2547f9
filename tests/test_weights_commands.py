"""rescale import and rescale export-weights, against timm and torchvision."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from rescale.cli.app import app
from rescale.cli.studies import _models as models_of
from rescale.errors import UserError
from rescale.lookup import names, network
from rescale.models import build, load_weights, make, model_named
from rescale.models.folder import ModelFolder, write
from rescale.models.start import model_to_train
from rescale.models.weights.export import architecture, export_weights
from rescale.models.weights.timm_config import preprocess_of
from rescale.preprocess import Preprocess
from test_models import randomise

HALF = (0.5, 0.5, 0.5)


def run(*words: str) -> str:
    """Run `rescale ...`; returns what it printed, with its lines joined."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception:
        raise result.exception
    return " ".join(result.stdout.split())


def outputs(model: torch.nn.Module, size: int) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    "name", ["resnetrs50@64", "resnet26@64", "resnext50_32x4d@64", "regnety_002@64", "regnetx_004_tv@64",
             "efficientnet_b0@64", "tf_efficientnet_b0@65", "resnetrs2-2-1-1@64"],
)  # fmt: skip
def test_timm_loads_what_is_exported(name: str, tmp_path) -> None:
    model = randomise(build(network(name), num_classes=5))
    notes = export_weights(
        model, tmp_path / "out", Preprocess(HALF, HALF, 64, 0.9, "tf1-bicubic", tuple("abcde"))
    )
    assert any("loads it" in note for note in notes)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    ours = outputs(model, model.network.resolution)
    assert (outputs(theirs, model.network.resolution) - ours).abs().max() <= 1e-4 * ours.abs().max()
    assert theirs.pretrained_cfg["label_names"] == list("abcde")
    assert theirs.pretrained_cfg["mean"] == list(HALF)
    assert (theirs.pretrained_cfg["crop_pct"], theirs.pretrained_cfg["interpolation"]) == (0.9, "bicubic")


def test_every_name_that_timm_has_gives_its_architecture() -> None:
    in_timm = set(timm.list_models()) & set(names())
    assert len(in_timm) > 50
    for name in in_timm - {"regnetz_005"}:
        assert architecture(network(name)).name == name


def test_networks_that_timm_does_not_have_are_rejected(tmp_path) -> None:
    for name in ("regnety_500mf-dWr-4@64", "resnet26+se@64", "regnetz_500mf@64"):
        with pytest.raises(UserError, match="timm has no network of this structure"):
            export_weights(build(network(name)), tmp_path / "out", Preprocess(HALF, HALF, 64))
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "arguments"), [("resnet34", {}), ("resnet1-2-1-1", {"layers": [1, 2, 1, 1]})]
)
def test_basic_blocks_are_exported(name: str, arguments, tmp_path) -> None:
    net = network("resnet34x1@64")
    if arguments:
        depths = zip(net.stages, arguments["layers"], strict=True)
        net = replace(net, name=name, stages=tuple(replace(stage, depth=n) for stage, n in depths))
    lines = export_weights(build(net), tmp_path / "out", Preprocess(HALF, HALF, 64))
    assert "loads it" in lines[1]
    assert architecture(net).arguments == arguments


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
    # the folder written for timm can be imported again, without the name of the network
    run("import", tmp_path / "timm", "-o", tmp_path / "back")
    assert network(tmp_path / "back").resolution == 64
    first, second = (load_file(tmp_path / part / "model.safetensors") for part in ("in", "back"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_import_with_another_head(tmp_path) -> None:
    save_file(randomise(timm.create_model("resnet26")).state_dict(), tmp_path / "a.safetensors")
    words = ["import", tmp_path / "a.safetensors", "--model", "resnet26@64", "--classes", "3"]
    text = run(*words, "-o", tmp_path / "in")
    assert "the head is newly initialised for 3 classes (the weights have 1000)" in text
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
        ([*good, "-o", tmp_path / "full"], "is not empty"),
        (["import", tmp_path / "cut.safetensors", "--model", "resnet26", "-o", tmp_path / "o"], "damaged"),
        (
            ["import", tmp_path / "a.safetensors", "--model", "resnet50", "-o", tmp_path / "o"],
            "tensors differ",
        ),
        (["import", tmp_path / "none.pth", "--model", "resnet26", "-o", tmp_path / "o"], "no such file"),
        (["import", tmp_path / "a.safetensors", "-o", tmp_path / "o"], "give --model"),
        (["import", tmp_path / "odd", "-o", tmp_path / "o"], "names no architecture"),
        (
            ["export-weights", tmp_path / "empty", "-o", tmp_path / "o"],
            "has no network.yaml or external.json",
        ),
    ]
    for words, message in cases:
        with pytest.raises(UserError) as caught:
            run(*words)
        assert message in str(caught.value) and len(caught.value.lines) == 1
        assert not (tmp_path / "o").exists()


def test_a_folder_of_an_external_model_is_a_model_for_all_commands(tmp_path) -> None:
    described = model_named("timm:resnet10t@32").with_classes(3)
    preprocess = Preprocess(HALF, HALF, 32, 0.9, "tf1-bicubic", tuple("abc"))
    write(tmp_path / "a", described, make(described)[0].state_dict(), preprocess)
    name = str(tmp_path / "a")
    assert json.loads(run("cost", name, "--json")) == json.loads(run("cost", "timm:resnet10t@32", "--json"))
    shown = json.loads(
        run("bench", f"mine={name}", "--batch", "2", "--repeats", "1", "--warmup", "0", "--json")
    )
    assert [row["model"] for row in shown] == ["mine"]


@pytest.fixture
def folder(tmp_path) -> Path:
    described = network("resnet26x0.25@32").with_classes(3)
    write(tmp_path / "a", described, build(described).state_dict(), Preprocess(HALF, HALF, 32))
    return tmp_path / "a"


def test_weights_that_are_named_as_a_model(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = folder / "model.safetensors"
    torch.save({"a": torch.ones(2)}, "w.pth")
    torch.save({"a": torch.ones(2)}, "weights")
    Path("tf.index").write_bytes(b"")
    for name in (str(file), "a/model.safetensors", "w.pth", "./w.pth", "weights", "./tf"):
        with pytest.raises(
            UserError, match=r"holds weights, not a network; name the network, .* --weights "
        ) as caught:
            network(name)
        (line,) = caught.value.lines
        assert f"rescale import {Path(name)} --model NETWORK" in line
    Path("photo.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"photo.png: not a text file in UTF-8, so not YAML$"):
        network("./photo.png")


def test_folders_that_are_named_as_a_model(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("empty", "weights", "networks", "external"):
        Path(path).mkdir()
    Path("weights/model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    Path("networks/n1.yaml").write_text((folder / "network.yaml").read_text())
    Path("external/external.json").write_text("{}")
    no_file = "the folder has no network.yaml or external.json"
    for name, words in (
        ("./empty", f"^empty: {no_file}$"),
        (str(tmp_path / "empty"), f"empty: {no_file}$"),
        ("empty", f"^empty: {no_file}$"),
        ("weights", rf"{no_file}, only weights; .* rescale import weights --model NETWORK"),
        ("networks", f"{no_file}; name one of its files, such as networks/n1.yaml$"),
        (f"{folder}@16", r"@16: only names take @16; .* name that .*/a/network.yaml holds"),
        ("a@16", r"only names take @16; .* a/network.yaml holds"),
        ("external@16", r"only names take @16; .* external/external.json holds"),
        ("nothing@16", r"no network is named 'nothing@16'"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            network(name)
        assert len(caught.value.lines) == 1
    assert network("a") == network(folder) == network("networks/n1.yaml")


def test_a_study_s_models(folder, tmp_path) -> None:
    """A folder of network files stands for them; the advice for one with weights is one that a study has."""
    with pytest.raises(UserError, match="holds a trained model") as caught:
        model_to_train(str(folder))
    assert f"name {folder}/network.yaml to train this model from newly" in str(caught.value)
    assert f"rescale train --weights {folder} starts" in str(caught.value)
    assert model_to_train(f"{folder}/network.yaml") == network(folder)
    external, empty, nets = (tmp_path / name for name in ("external", "empty", "nets"))
    for path, files in (
        (external, ["external.json", "recipe.yaml"]),
        (empty, []),
        (nets, ["b.yaml", "a.yaml"]),
    ):
        path.mkdir()
        for file in files:
            (path / file).touch()
    names = list(map(str, (folder, external, empty, nets)))
    assert models_of([*names, "resnet50"]) == [*names[:3], f"{nets}/a.yaml", f"{nets}/b.yaml", "resnet50"]


def test_bench_refuses_a_resolution_that_a_function_does_not_take() -> None:
    with pytest.raises(UserError, match="let its function take `resolution`"):
        run("bench", "python:torchvision.models:vit_b_16@64", "--batch", "2")


@pytest.mark.parametrize(
    "name", ["timm:resnet10t@64", "timm:vit_tiny_patch16_224", "python:torchvision.models:resnet18"]
)
def test_import_of_external_models(name: str, tmp_path) -> None:
    model = model_named(name).with_classes(4)
    theirs = randomise(make(model)[0])
    torch.save({"model": {f"module.{key}": t for key, t in theirs.state_dict().items()}}, tmp_path / "a.pth")
    text = run("import", tmp_path / "a.pth", "--model", name, "-o", tmp_path / "in")
    assert "assumed, since the weights do not specify it: mean 0.485,0.456,0.406, std 0.229" in text
    assert "crop 0.875, interpolation bicubic" in text
    folder = ModelFolder.open(tmp_path / "in")
    assert folder.model == model  # as many classes as the weights have
    size = model.resolution
    assert torch.equal(outputs(folder.load(), size), outputs(theirs, size))
    with pytest.raises(UserError, match="is not one of this project's networks"):
        run("export-weights", tmp_path / "in", "-o", tmp_path / "out")


@pytest.mark.parametrize("name", ["resnet26", "resnet10t"])
def test_the_config_of_timms_folder_is_used(name: str, tmp_path) -> None:
    theirs = randomise(timm.create_model(name, num_classes=4))
    data = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "crop_pct": 0.9, "interpolation": "bilinear",
            "input_size": (3, 64, 64)}  # fmt: skip
    timm.models.save_for_hf(
        theirs, tmp_path / "timm", {"label_names": list("abcd")}, safe_serialization=True, data_config=data
    )
    text = run("import", tmp_path / "timm", "-o", tmp_path / "in")
    assert "note" not in text
    folder = ModelFolder.open(tmp_path / "in")
    expected = Preprocess((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 64, 0.9, "bilinear", tuple("abcd"))
    assert folder.preprocess == expected
    assert folder.model.name == ("resnet26@64" if name == "resnet26" else "timm:resnet10t@64")
    ours = outputs(folder.load(), 64)
    assert (ours - outputs(theirs, 64)).abs().max() <= 1e-5 * ours.abs().max()
    # the names of the outputs do not apply to a new head
    text = run("import", tmp_path / "timm", "--classes", "3", "-o", tmp_path / "three")
    assert "newly initialised for 3 classes (the weights have 4)" in text
    assert ModelFolder.open(tmp_path / "three").preprocess == replace(expected, labels=())
    # options override the folder
    (tmp_path / "names.txt").write_text("one\ntwo\n\n three \nfour\n")
    words = ["--mean", "0.5,0.5,0.5", "--std", ".2,.2,.2", "--crop", "1", "--interpolation", "bicubic"]
    run("import", tmp_path / "timm", *words, "--labels", tmp_path / "names.txt", "-o", tmp_path / "stated")
    stated = Preprocess((0.5,) * 3, (0.2,) * 3, 64, 1.0, "bicubic", ("one", "two", "three", "four"))
    assert ModelFolder.open(tmp_path / "stated").preprocess == stated
    # a model folder can be imported too, and a different input size is noted
    other = folder.model.at(96).name
    text = run("import", tmp_path / "stated", "--model", other, "-o", tmp_path / "larger")
    assert f"weights for 64 pixels; {other} takes 96" in text
    assert ModelFolder.open(tmp_path / "larger").preprocess == replace(stated, resolution=96)


def test_label_names_by_number(tmp_path) -> None:
    names = {str(number): name for number, name in enumerate("abcdefghijkl")}
    values = {"mean": [0.5], "std": [0.5], "label_names": names}
    assert preprocess_of(values, 8, "x")[0].labels == tuple("abcdefghijkl")
    with pytest.raises(UserError, match="x: label_names: expected a name for each output from 0 on"):
        preprocess_of(values | {"label_names": {"1": "a"}}, 8, "x")
    with pytest.raises(UserError, match=r"x: interpolation: expected .* found 'random'"):
        preprocess_of(values | {"interpolation": "random"}, 8, "x")
    _, notes = preprocess_of({"std": [1, 1, 1], "crop_mode": "squash"}, 8, "x")
    assert notes == [
        "normalisation: ImageNet's is assumed, since x does not specify it",
        "images: the central square is used instead of timm's crop mode 'squash'",
    ]


def test_averaged_and_raw(tmp_path) -> None:
    raw, mean = (build(network("resnet26x0.125@32").with_classes(3)).state_dict() for _ in range(2))
    torch.save({"model": raw, "model_ema": mean}, tmp_path / "w.pth")
    words = ("import", str(tmp_path / "w.pth"), "--model", "resnet26x0.125@32", "--classes", "3", "--out")
    for option, state, averaged in (("--raw", raw, False), ("--averaged", mean, True)):
        text = run(*words, str(tmp_path / option), option)
        folder = ModelFolder.open(tmp_path / option)
        assert torch.equal(folder.tensors()["head.linear.weight"], state["head.linear.weight"])
        assert folder.averaged is averaged and f"the {option[2:]} weights under" in text


def test_an_import_that_was_killed_is_repeated(tmp_path) -> None:
    net = network("resnet26x0.125@32")
    torch.save(build(net).state_dict(), tmp_path / "w.pth")
    words = ("import", str(tmp_path / "w.pth"), "--model", net.name, "--out", str(tmp_path / "w"))
    run(*words)
    (tmp_path / "w" / "model.safetensors").unlink()  # it is written last
    run(*words)
    with pytest.raises(UserError, match="is not empty"):
        run(*words)


def test_averaged_weights_and_the_key(tmp_path) -> None:
    raw, averaged = (timm.create_model("resnet26", num_classes=3) for _ in range(2))
    torch.save({"state_dict": raw.state_dict(), "state_dict_ema": averaged.state_dict()}, tmp_path / "a.pth")
    words = ["import", tmp_path / "a.pth", "--model", "resnet26@64", "--json"]
    (report,) = json.loads(run(*words, "-o", tmp_path / "averaged"))
    assert report["averaged"] is True and "'state_dict_ema' are used; the file also" in report["notes"][0]
    (report,) = json.loads(run(*words, "--weights-key", "state_dict", "-o", tmp_path / "raw"))
    assert report["averaged"] is False and len(report["notes"]) == 1
    for part, theirs in (("averaged", averaged), ("raw", raw)):
        folder = ModelFolder.open(tmp_path / part)
        assert folder.averaged is (part == "averaged")
        assert torch.allclose(outputs(folder.load(), 64), outputs(theirs, 64), rtol=1e-4, atol=1e-5)


def test_export_uses_the_preprocessing_of_the_folder(tmp_path) -> None:
    net = network("resnet26@64").with_classes(3)
    preprocess = Preprocess(HALF, HALF, 64, 0.9, "bilinear", tuple("xyz"))
    write(tmp_path / "in", net, randomise(build(net)).state_dict(), preprocess)
    text = run("export-weights", tmp_path / "in", "-o", tmp_path / "out")
    assert "loads it" in text and "assumed" not in text
    config = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).pretrained_cfg
    assert (config["mean"], config["crop_pct"], config["interpolation"]) == ([0.5] * 3, 0.9, "bilinear")
    assert config["label_names"] == ["x", "y", "z"]
    (tmp_path / "in" / "preprocess.json").unlink()
    assert "assumed, since the weights do not specify it" in run(
        "export-weights", tmp_path / "in", "-o", tmp_path / "again"
    )


def test_a_run_of_format_1_is_exported_with_its_own_preprocessing(tmp_path) -> None:
    finished = Path(__file__).parent / "golden" / "format-1" / "finished"
    with pytest.raises(UserError, match="timm has no network of this structure"):
        run("export-weights", finished, "-o", tmp_path / "out")
    run("import", finished, "-o", tmp_path / "in")
    folder, original = ModelFolder.open(tmp_path / "in"), ModelFolder.open(finished)
    assert folder.preprocess == original.preprocess and folder.averaged is True
    assert torch.equal(outputs(folder.load(), 8), outputs(original.load(), 8))


def test_bad_options_get_one_line(tmp_path) -> None:
    torch.save(timm.create_model("resnet26", num_classes=3).state_dict(), tmp_path / "a.pth")
    (tmp_path / "names.txt").write_text("a\nb\n")
    for words, message in (
        (["--mean", "0.5;0.5"], "--mean 0.5;0.5: write numbers"),
        (["--mean", "0.5", "--std", "0.5"], "takes 3 channels; give 3 numbers each"),
        (["--std", "0,1,1"], "std: expected values above 0"),
        (["--crop", "-1"], "crop: expected"),
        (["--interpolation", "cubic"], "interpolation: expected"),
        (["--labels", tmp_path / "none.txt"], "none.txt: cannot be read"),
        (["--labels", tmp_path / "names.txt"], "2 names for the 3 outputs of resnet26@64"),
        (["--weights-key", "ema"], "holds no state dict under 'ema'"),
    ):
        with pytest.raises(UserError) as caught:
            run("import", tmp_path / "a.pth", "--model", "resnet26@64", *words, "-o", tmp_path / "o")
        assert message in str(caught.value) and len(caught.value.lines) == 1
        assert not (tmp_path / "o").exists()
