"""Starting weights: their sources, rejected input, and filling the head."""

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from rescale.errors import UserError
from rescale.lookup import network
from rescale.models import External, make, model_named
from rescale.models.folder import ModelFolder, write
from rescale.models.head import classifier_of
from rescale.models.start import (
    StartingWeights,
    class_order,
    differences,
    fill,
    model_to_train,
    starting_weights,
)
from rescale.preprocess import Preprocess
from test_models import randomise

FORMAT_1 = Path(__file__).parent / "golden" / "format-1"
NET = network("resnet26x0.25@32").with_classes(3)
PREPROCESS = Preprocess((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 32, labels=("a", "b", "c"))


def outputs(module: nn.Module, size: int = 64) -> torch.Tensor:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return module.eval()(images)


def close(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool((first - second).abs().max() <= 1e-5 * second.abs().max())


def refused(message: str, *arguments: object) -> None:
    with pytest.raises(UserError, match=message) as caught:
        starting_weights(*arguments)  # type: ignore[arg-type]
    assert len(caught.value.lines) == 1 and "\n" not in str(caught.value)


# --- sources


def test_from_a_model_folder(tmp_path: Path) -> None:
    module = randomise(make(NET)[0])
    write(tmp_path, NET, module.state_dict(), PREPROCESS, averaged=True)
    # the input size and the number of classes may differ
    weights = starting_weights(str(tmp_path), NET.at(64).with_classes(3))
    assert (weights.averaged, weights.preprocess, weights.classes) == (True, PREPROCESS, 3)
    assert weights.sha256 == ModelFolder(tmp_path).sha256 and weights.source == str(tmp_path)
    fresh = make(NET)[0]
    assert not close(outputs(fresh), outputs(module))
    assert not fill(fresh, NET, weights, PREPROCESS.labels)
    assert torch.equal(outputs(fresh), outputs(module))


def test_from_a_finished_run_and_not_from_an_unfinished_one() -> None:
    run = ModelFolder.open(FORMAT_1 / "finished")
    weights = starting_weights(str(run.path), run.model)
    assert weights.averaged and weights.preprocess == run.preprocess and weights.classes == 10
    fresh = make(run.model)[0]
    assert not fill(fresh, run.model, weights, [str(digit) for digit in range(10)])
    assert torch.equal(outputs(fresh), outputs(run.load()))
    refused("has not finished; continue it with: rescale train", str(FORMAT_1 / "unfinished"), run.model)


@pytest.mark.parametrize("model", [NET, External("timm:resnet10t@32", 32, 3)], ids=["ours", "external"])
def test_a_folder_with_weights_is_no_model_to_train_from_scratch(model, tmp_path: Path) -> None:
    write(tmp_path / "a", model, make(model)[0].state_dict(), PREPROCESS)
    instead = str(tmp_path / "a" / "network.yaml") if model is NET else "timm:resnet10t@32"
    with pytest.raises(UserError, match=r"rescale train --weights .* starts from its weights") as caught:
        model_to_train(str(tmp_path / "a"))
    assert f"name {instead} to train" in str(caught.value) and len(caught.value.lines) == 1
    assert model_to_train(str(tmp_path / "a"), "pretrained") == model
    renamed = model_to_train(f"mine={tmp_path / 'a'}", "pretrained")
    assert renamed.name == "mine" and renamed.identity == model.identity
    assert model_to_train(instead).with_classes(3).identity == model.identity
    assert model_named(str(tmp_path / "a")) == model  # its cost and its time need no weights
    with pytest.raises(UserError, match=r"holds an unfinished run.*; rescale train --resume .* continues it"):
        model_to_train(str(FORMAT_1 / "unfinished"))


THEIRS = {
    "timm:resnet26": partial(timm.create_model, "resnet26"),
    "resnet26": partial(timm.create_model, "resnet26"),
    "resnet18": torchvision.models.resnet18,
    "python:torchvision.models:resnet18": torchvision.models.resnet18,
}


@pytest.mark.parametrize("name", THEIRS)
def test_from_files_of_other_libraries(name: str, tmp_path: Path) -> None:
    model = model_named(name).with_classes(6)
    theirs = THEIRS[name](num_classes=6)
    randomise(theirs)
    save_file(theirs.state_dict(), tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"module.{n}": t for n, t in theirs.state_dict().items()}}, tmp_path / "a.pth")
    for path in (tmp_path / "a.safetensors", tmp_path / "a.pth"):
        weights = starting_weights(str(path), model)
        assert (weights.preprocess, weights.averaged, weights.classes) == (None, None, 6)
        assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        fresh, _ = make(model)
        assert not close(outputs(fresh), outputs(theirs))
        assert not fill(fresh, model, weights)
        assert close(outputs(fresh), outputs(theirs))


def test_reading_leaves_the_random_state_unchanged(tmp_path: Path) -> None:
    save_file(make(NET)[0].state_dict(), tmp_path / "a.safetensors")
    state = torch.random.get_rng_state()
    starting_weights(str(tmp_path / "a.safetensors"), NET)
    assert torch.equal(state, torch.random.get_rng_state())


def test_rejected_sources(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(folder, NET, make(NET)[0].state_dict(), PREPROCESS)
    refused("none.pth: no such file", str(tmp_path / "none.pth"), NET)
    refused("pretrained.tv: no such file; write pretrained", "pretrained.tv", NET)
    deeper = replace(NET, stages=(replace(NET.stages[0], depth=5), *NET.stages[1:]), norm_eps=1e-3)
    message = r"another network: stages\[0\].depth is 2, not 5; norm_eps is 1e-05, not 0.001"
    refused(message, str(folder), deeper)
    refused(
        "holds resnet26x0.25@32, another network: 4 stages, not 3",
        str(folder),
        replace(NET, stages=NET.stages[1:]),
    )
    exported = rf"; in timm's names: rescale export-weights {folder} -o FOLDER"
    refused(
        f"holds resnet26x0.25@32, not timm:resnet26{exported}", str(folder), External("timm:resnet26", 32)
    )
    theirs = tmp_path / "theirs"
    model = External("timm:resnet10t.c3_in1k@64", 64, 5)
    write(theirs, model, make(model)[0].state_dict(), PREPROCESS)
    refused(
        "holds timm:resnet10t.c3_in1k@64, not timm:resnet14t", str(theirs), External("timm:resnet14t", 32)
    )
    refused("holds timm:resnet10t.c3_in1k@64, not resnet26x0.25@32", str(theirs), NET)
    assert starting_weights(str(theirs), External("timm:resnet10t", 176, 7)).classes == 5
    refused("holds one set of weights; --weights-key", str(folder), NET, "state_dict")
    (tmp_path / "a.h5").write_bytes(b"")
    refused(
        "Keras and TensorFlow files can be read only for this",
        str(tmp_path / "a.h5"),
        External("timm:resnet26", 32),
    )
    (folder / "model.safetensors").unlink()
    refused("has no model.safetensors", str(folder), NET)


@given(
    stage=st.integers(0, 3),
    change=st.sampled_from([{"depth": 9}, {"width": 1024}, {"stride": 3}, {"se": 0.5}, {"shortcut": "pool"}]),
)
def test_any_structural_change_is_a_difference(stage: int, change: dict[str, object]) -> None:
    stages = list(NET.stages)
    stages[stage] = replace(stages[stage], **change)  # type: ignore[arg-type]
    (line,) = differences(NET, replace(NET, name="other", stages=tuple(stages)))
    ((key, value),) = change.items()
    assert line == f"stages[{stage}].{key} is {getattr(NET.stages[stage], key)}, not {value}"
    assert not differences(NET, replace(NET.at(224).with_classes(9), scale_ends=True))


# --- the head


def weights_of(module: nn.Module, labels: tuple[str, ...], classes: int) -> StartingWeights:
    preprocess = Preprocess((0.5,), (0.5,), 8, labels=labels)
    return StartingWeights("test", "", None, dict(module.state_dict()), classes, preprocess)


MODELS = [NET, External("timm:resnet10t@32", 32, 3), External("python:torchvision.models:resnet18@32", 32, 3)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("classes", [("a", "b", "c"), ("c", "a", "b"), ("c", "a"), ("b",)], ids="".join)
def test_rows_are_matched_by_name(model, classes: tuple[str, ...]) -> None:
    source = randomise(make(model)[0])
    ours = model.with_classes(len(classes))
    module = make(ours)[0]
    notes = fill(module, ours, weights_of(source, ("a", "b", "c"), 3), classes)
    columns = ["abc".index(name) for name in classes]
    assert close(outputs(module), outputs(source)[:, columns])
    expected = {"abc": [], "cab": ["(in another order)"]}.get("".join(classes), [f"({len(classes)} of 3)"])
    assert [note.rpartition("name ")[2] for note in notes] == expected


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_head_of_other_classes_is_newly_initialised(model) -> None:
    source = randomise(make(model)[0])
    ours = model.with_classes(4)
    for labels, classes, message in (
        (("a", "b", "c"), "abcd", "for 4 classes: 3 of them are among the names of the weights' 3 outputs"),
        (("a", "b", "c"), "wxyz", "for 4 classes: 0 of them are among the names of the weights' 3 outputs"),
        (("a", "b", "b"), "abcd", "for 4 classes: 1 of them"),
        ((), "abcd", "for 4 classes (the weights have 3)"),
        (("a", "b", "c"), "", "for 4 classes (the weights have 3)"),
    ):
        module = make(ours)[0]
        before = {n: t.clone() for n, t in classifier_of(module).state_dict().items()}
        (note,) = fill(module, ours, weights_of(source, labels, 3), tuple(classes))
        assert note.startswith("the head is newly initialised") and message in note
        after, head = classifier_of(module).state_dict(), classifier_of(source)
        assert all(torch.equal(before[name], after[name]) for name in before)
        classifier_of(module).load_state_dict({n: t[[0, 1, 2, 0]] for n, t in head.state_dict().items()})
        assert close(outputs(module), outputs(source)[:, [0, 1, 2, 0]])  # the backbone was filled


def test_without_names_the_order_is_assumed_and_noted() -> None:
    source = randomise(make(NET)[0])
    module = make(NET)[0]
    weights = replace(weights_of(source, (), 3), preprocess=None)
    (note,) = fill(module, NET, weights, ("x", "y", "z"))
    assert note.startswith("the weights name no classes: their 3 outputs are taken in the order of")
    assert note.endswith("(x, y, z)")
    assert torch.equal(outputs(module), outputs(source))


def test_weights_that_do_not_fit_leave_the_module_unchanged() -> None:
    module = make(NET)[0]
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    weights = weights_of(randomise(make(NET)[0]), (), 3)
    incomplete = {n: t for n, t in weights.tensors.items() if n != "stem.convs.0.conv.weight"}
    for tensors, message in (
        (incomplete, r"stem.convs.0.conv.weight: missing"),
        (weights.tensors | {"more": torch.ones(1)}, "more: unknown here"),
        (weights.tensors | {"head.linear.weight": torch.ones(3, 7)}, r"head.linear.weight: \(3, 7\), here"),
    ):
        with pytest.raises(UserError, match=f"not weights of resnet26x0.25@32: .*{message}"):
            fill(module, NET, replace(weights, tensors=tensors), ("x", "y", "z"))
    with pytest.raises(UserError, match="3 outputs and 2 names"):
        fill(module, NET, weights_of(module, ("a", "b"), 3), ("x", "y", "z"))
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_a_model_without_a_linear_classifier_must_fit_as_a_whole() -> None:
    model = External("timm:regnetz_b16_evos@64", 64, 0)
    source, module = (randomise(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten())) for _ in range(2))
    module[0].weight.data.zero_()
    weights = StartingWeights("test", "", None, dict(source.state_dict()))
    assert not fill(module, model, weights, ("x", "y", "z"))
    assert torch.equal(outputs(module), outputs(source))


@given(st.lists(st.text(max_size=3), unique=True, min_size=1), st.data())
def test_class_order(labels: list[str], data: st.DataObject) -> None:
    classes = data.draw(st.lists(st.sampled_from(labels), unique=True, min_size=1))
    order = class_order(labels, classes)
    assert order is not None and [labels[number] for number in order] == classes
    assert class_order(labels, [*classes, "none of them"]) is None
    assert class_order([*labels, *classes], classes) is None  # a name occurs twice
    assert class_order(labels, [classes[0], classes[0]]) is None
    assert class_order([*labels, labels[0]], [*labels, labels[0]]) == list(range(len(labels) + 1))


# --- timm's pretrained weights, in a cache that the test writes


def cache(
    home: Path, repository: str, state: dict[str, torch.Tensor], name: str = "model.safetensors"
) -> Path:
    """Write the cache of Hugging Face's client for a repository with one file."""
    folder = home / "hub" / ("models--" + repository.replace("/", "--"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    path = folder / "snapshots" / commit / name
    path.parent.mkdir(parents=True)
    if name.endswith(".bin"):
        torch.save(state, path)
    else:
        save_file(state, path)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path


CACHED = {
    "timm:resnet10t": "timm/resnet10t.c3_in1k",
    "timm:resnet26@64": "timm/resnet26.bt_in1k",
    "timm:efficientnet_b0.ra4_e3600_r224_in1k": "timm/efficientnet_b0.ra4_e3600_r224_in1k",
    "resnet18@64": "timm/resnet18.a1_in1k",
    "resnet26@64": "timm/resnet26.bt_in1k",
    "regnety_002@64": "timm/regnety_002.pycls_in1k",
    "tf_efficientnet_b0@64": "timm/tf_efficientnet_b0.ns_jft_in1k",
}


@pytest.mark.parametrize("name", CACHED)
def test_pretrained_weights_of_timm(name: str, home: Path) -> None:
    repository = CACHED[name]
    tagged = repository.removeprefix("timm/")
    theirs = randomise(timm.create_model(tagged))
    path = cache(home, repository, theirs.state_dict())
    state = torch.random.get_rng_state()
    model = model_named(name)
    weights = starting_weights("pretrained", model)
    assert torch.equal(state, torch.random.get_rng_state())
    assert weights.source == f"pretrained: {tagged}" and tagged in weights.notes[0]
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and weights.classes == 1000
    module = make(model)[0]
    assert not close(outputs(module), outputs(theirs))
    assert not fill(module, model, weights)
    assert close(outputs(module), outputs(theirs))
    preprocess, config = weights.preprocess, timm.get_pretrained_cfg(tagged)
    assert preprocess is not None
    assert (preprocess.mean, preprocess.std, preprocess.crop) == (config.mean, config.std, config.crop_pct)
    assert (preprocess.interpolation, preprocess.resolution) == (config.interpolation, config.input_size[-1])
    assert preprocess.labels == tuple(timm.data.ImageNetInfo().label_names())
    classes = ("n02123045", "n01440764")  # tabby, tench: outputs 281 and 0 of every ImageNet-1k model
    smaller = make(model.with_classes(2))[0]
    assert "2 of 1000" in fill(smaller, model.with_classes(2), weights, classes)[0]
    assert close(outputs(smaller), outputs(theirs)[:, [281, 0]])


def test_an_older_repository_contains_a_pickle(home: Path) -> None:
    theirs = randomise(timm.create_model("resnet10t"))
    cache(home, "timm/resnet10t.c3_in1k", theirs.state_dict(), "pytorch_model.bin")
    model = model_named("timm:resnet10t")
    module = make(model)[0]
    fill(module, model, starting_weights("pretrained", model))
    assert torch.equal(outputs(module), outputs(theirs))


def test_without_a_cached_file_one_line_explains_how_to_get_it(home: Path, monkeypatch) -> None:
    remedy = (
        r"download model.safetensors of the hub's repository timm/resnet26.bt_in1k elsewhere and give "
        rf"--weights FILE, or copy the cache's folder models--timm--resnet26.bt_in1k into {home}"
    )
    refused(
        f"resnet26.bt_in1k: not in the cache, and HF_HUB_OFFLINE is set; {remedy}",
        "pretrained",
        model_named("resnet26"),
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # no server is there
    start = time.monotonic()
    refused(
        f"not in the cache, and the hub cannot be reached; {remedy}",
        "pretrained",
        model_named("timm:resnet26"),
    )
    assert time.monotonic() - start < 10


def test_other_pretrained_weights_that_are_not_available(home: Path, monkeypatch) -> None:
    refused("timm has no pretrained weights for resnet200", "pretrained", model_named("resnet200"))
    refused("timm has no pretrained weights for resnet10t.other; it has: resnet10t.c3", "pretrained",
            External("timm:resnet10t.other", 64))  # fmt: skip
    refused("timm has no network of this structure", "pretrained", NET)
    refused("timm has no pretrained weights for a network of this", "pretrained", network("resnet2-3-2-2"))
    refused("only timm's networks have pretrained weights", "pretrained", External("python:a:b", 64))
    url = timm.get_pretrained_cfg("legacy_seresnet18").url
    message = f"not on the hub; download {url} and give --weights FILE, or put it at {home}/torch"
    refused(message, "pretrained",
            External("timm:legacy_seresnet18", 64))  # fmt: skip
    cache(home, "timm/resnet10t.c3_in1k", {"conv1.weight": torch.ones(1)})
    refused(
        "timm cannot load it as resnet10t.c3_in1k; remove it", "pretrained", model_named("timm:resnet10t")
    )
    with pytest.raises(
        UserError, match=r"timm:resnet10t.c2_in1k: Invalid .* did you mean 'resnet10t.c3_in1k'"
    ):
        model_named("timm:resnet10t.c2_in1k")
    monkeypatch.setitem(sys.modules, "timm", None)
    refused("--weights pretrained needs timm", "pretrained", network("resnet26"))


def test_weights_that_are_not_on_the_hub_are_read_from_torchs_cache(home: Path) -> None:
    theirs = randomise(timm.create_model("legacy_seresnet18"))
    url = timm.get_pretrained_cfg("legacy_seresnet18").url
    path = home / "torch" / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(theirs.state_dict(), path)
    model = External("timm:legacy_seresnet18", 64)
    module = make(model)[0]
    fill(module, model, starting_weights("pretrained", model))
    assert torch.equal(outputs(module), outputs(theirs))


IMPORT_TWICE = """
import sys
from rescale.cli import main
for model in ("timm:resnet10t", "resnet26"):
    sys.argv = ["rescale", "import", "pretrained", "--model", model, "-o", sys.argv[-1]]
    try:
        main()
    except SystemExit as error:
        print("exit code", error.code)
    sys.argv[-1] += "-again"
"""


def test_the_cache_set_in_the_environment_in_a_subprocess(tmp_path: Path) -> None:
    """HF_HOME and HF_HUB_OFFLINE as users set them, and the command line."""
    theirs = randomise(timm.create_model("resnet10t"))
    cache(tmp_path, "timm/resnet10t.c3_in1k", theirs.state_dict())
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    command = [sys.executable, "-c", IMPORT_TWICE, tmp_path / "out"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "timm's weights resnet10t.c3_in1k" in process.stdout
    assert [line for line in process.stdout.splitlines() if line.startswith("exit")] == [
        "exit code 0",
        "exit code 2",
    ]
    assert torch.equal(outputs(ModelFolder.open(tmp_path / "out").load()), outputs(theirs))
    assert (
        process.stderr.startswith("error: resnet26.bt_in1k: not in the cache")
        and process.stderr.count("\n") == 1
    )
