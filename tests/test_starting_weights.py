"""Training from starting weights, frozen backbones, and evaluation of model folders."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

import rescale
from rescale.data import open_data
from rescale.errors import UserError
from rescale.models import build
from rescale.models.folder import ModelFolder, write
from rescale.preprocess import Preprocess
from rescale.recipes import recipe
from rescale.training import Run, Settings, evaluate_folder, resume, train
from rescale.training import checkpoint as checkpoint_module
from test_models import randomise

NET = "resnetrs1-1x0.125+smallstem@8"
SMALL = {"epochs": 2, "batch": 256, "flip": 0.0, "precision": "fp32"}
SETTINGS = Settings(save_minutes=0.0, threads=1)
MEAN, STD = (0.3, 0.31, 0.32), (0.4, 0.41, 0.42)
DIGITS = tuple("0123456789")


def begin(out: Path, weights: str = "", net: str = NET, **changes) -> Run:
    chosen = recipe("resnet-rs", **(SMALL | changes))
    network = rescale.network(net)
    return train(network, chosen, "digits", out, settings=SETTINGS, weights=weights, quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """Random weights whose outputs are the digits from 9 down to 0."""
    path = tmp_path_factory.mktemp("weights") / "folder"
    net = rescale.network(NET).with_classes(10)
    model = randomise(build(net))
    return write(path, net, model.state_dict(), Preprocess(MEAN, STD, 8, labels=DIGITS[::-1]), averaged=True)


def first_checkpoint(run: Path) -> dict[str, torch.Tensor]:
    """The weights before the first step."""
    (path,) = (run / "checkpoints").glob("step-00000000")
    return load_file(path / "model.safetensors")


def test_a_run_starts_from_the_weights_with_the_head_matched_by_name(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint_module, "KEEP", 99)
    run = begin(tmp_path / "run", str(folder.path))
    start, weights = first_checkpoint(run.path), folder.tensors()
    for name, tensor in start.items():
        expected = weights[name].flip(0) if name.startswith("head.linear") else weights[name]
        assert torch.equal(tensor, expected), name
    average = load_file(run.path / "checkpoints" / "step-00000000" / "average.safetensors")
    assert all(torch.equal(average[name], start[name]) for name in start)  # created after loading
    facts = run.facts["weights"]
    assert facts == {"source": str(folder.path), "sha256": folder.sha256, "averaged": True}
    notes = " ".join(run.result["not_applied"])
    assert "matched to the classes by name" in notes and "normalised as the starting weights" in notes
    assert run.preprocess == Preprocess(MEAN, STD, 8, labels=DIGITS)
    figures = evaluate_folder(run.path).figures
    assert figures["top1"] == pytest.approx(run.result["figures"]["top1"])


def test_identity_depends_on_the_weights(folder, tmp_path) -> None:
    other = tmp_path / "other"
    write(other, folder.model, folder.tensors(), folder.preprocess, averaged=False)
    runs = [
        begin(tmp_path / f"run{i}", weights, epochs=1)
        for i, weights in enumerate(("", str(folder.path), str(folder.path), str(other)))
    ]
    without, averaged, again, raw = (run.facts["identity"] for run in runs)
    assert averaged == again and len({without, averaged, raw}) == 3


def test_a_head_of_another_size_is_new(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint_module, "KEEP", 99)
    net = rescale.network(NET).with_classes(7)
    seven = write(tmp_path / "seven", net, randomise(build(net)).state_dict(), Preprocess(MEAN, STD, 8))
    run = begin(tmp_path / "run", str(seven.path), epochs=1)
    plain = begin(tmp_path / "plain", epochs=1)
    assert any("newly initialised for 10 classes" in note for note in run.result["not_applied"])
    start = first_checkpoint(run.path)
    assert torch.equal(start["stem.convs.0.conv.weight"], seven.tensors()["stem.convs.0.conv.weight"])
    assert start["head.linear.weight"].shape[0] == 10
    assert plain.result["figures"] != run.result["figures"]


@pytest.mark.parametrize("net", [NET, "timm:resnet10t@32"])
def test_a_frozen_backbone_stays_bit_identical(net: str, tmp_path, monkeypatch) -> None:
    from rescale.models import make, model_named

    monkeypatch.setattr(checkpoint_module, "KEEP", 99)
    described = model_named(net).with_classes(10)
    module, _ = make(described)
    state = randomise(module).state_dict()
    start = write(tmp_path / "start", described, state, Preprocess(MEAN, STD, 8, labels=DIGITS))
    chosen = recipe("resnet-rs", **(SMALL | {"freeze": "backbone", "dropout": 0.3, "stochastic_depth": 0.5}))
    run = train(
        model_named(net),
        chosen,
        "digits",
        tmp_path / "run",
        settings=SETTINGS,
        weights=str(start.path),
        quiet=True,
    )
    head = ("head.linear.", "fc.")
    for trained in (load_file(run.path / "model.safetensors"), load_file(newest(run) / "model.safetensors")):
        for name, tensor in state.items():
            assert torch.equal(tensor, trained[name]) != name.startswith(head), name


def newest(run: Run) -> Path:
    return sorted((run.path / "checkpoints").glob("step-*"))[-1]


def test_a_run_killed_early_never_resumes_from_newly_initialised_weights(folder, tmp_path) -> None:
    """The real command, killed as soon as the folder is a run; the weights are deleted before the resume."""
    words = ["train", NET, "--data", "digits", "--threads", "1", "--device", "cpu", "--workers", "1"]
    words += [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    moved = tmp_path / "weights"
    write(moved, folder.model, folder.tensors(), folder.preprocess, averaged=True)

    def command(out: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "rescale",
            *words,
            "--weights",
            str(moved),
            "--out",
            str(tmp_path / out),
        ]

    subprocess.run(command("whole"), check=True, capture_output=True)
    process = subprocess.Popen(command("cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (tmp_path / "cut" / "run.json").is_file() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (moved / "model.safetensors").unlink()
    cut = resume(tmp_path / "cut", quiet=True)
    a, b = (load_file(path / "model.safetensors") for path in (tmp_path / "whole", cut.path))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_folder_without_a_first_checkpoint_is_not_a_run(folder, tmp_path, monkeypatch) -> None:
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "run", str(folder.path))
    monkeypatch.undo()
    with pytest.raises(UserError, match="ended before the first step; start it again with --out"):
        resume(tmp_path / "run")
    assert begin(tmp_path / "run", str(folder.path)).result


def test_a_folder_is_evaluated_by_names_and_by_order(folder, tmp_path) -> None:
    by_name = evaluate_folder(folder.path, "digits")
    assert by_name.notes == ["matched by name: 10 classes among the model's 10 outputs"]
    state = folder.tensors()
    flipped = {n: t.flip(0) if n.startswith("head.linear") else t for n, t in state.items()}
    in_order = write(tmp_path / "in_order", folder.model, flipped, replace(folder.preprocess, labels=DIGITS))
    assert evaluate_folder(in_order.path, "digits").figures == by_name.figures
    unnamed = write(tmp_path / "unnamed", folder.model, flipped, replace(folder.preprocess, labels=()))
    evaluated = evaluate_folder(unnamed.path, "digits")
    assert evaluated.figures == by_name.figures
    assert any("assumed to be the classes in order (0, 1, 2, 3, 4, ...)" in note for note in evaluated.notes)


def test_what_cannot_be_evaluated_gives_one_line(folder, tmp_path) -> None:
    with pytest.raises(UserError, match="is no run, so it has no data of its own; give --data"):
        evaluate_folder(folder.path)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / "data" / name / f"{i}.png")
    with pytest.raises(UserError, match="classes of the data that the model does not know: cat, dog"):
        evaluate_folder(folder.path, str(tmp_path / "data"))
    knn = evaluate_folder(folder.path, str(tmp_path / "data"), evaluators=["knn"])  # needs no outputs
    assert set(knn.figures) == {"data", "resolution", "knn", "images"}
    assert knn.notes == ["no validation part: 2 images held out for it, a tenth of each class"]
    unnamed = write(
        tmp_path / "unnamed", folder.model, folder.tensors(), replace(folder.preprocess, labels=())
    )
    with pytest.raises(UserError, match="10 outputs without names, the data 2 classes"):
        evaluate_folder(unnamed.path, str(tmp_path / "data"))
    with pytest.raises(UserError, match="no evaluator 'kn'; did you mean 'knn'"):
        evaluate_folder(folder.path, "digits", evaluators=["kn"])


def test_a_model_of_a_thousand_classes_is_evaluated_on_ten_of_them(tmp_path) -> None:
    """Selecting rows of the head gives the same figures as selecting its outputs."""
    labels = tuple(str(i) for i in range(1000))
    net = rescale.network(NET).with_classes(1000)
    state = randomise(build(net)).state_dict()
    large = write(tmp_path / "large", net, state, Preprocess(MEAN, STD, 8, labels=labels))
    rows = {name: t[:10] if name.startswith("head.linear") else t for name, t in state.items()}
    small = write(tmp_path / "small", net.with_classes(10), rows, Preprocess(MEAN, STD, 8, labels=DIGITS))
    selected, expected = (evaluate_folder(f.path, "digits") for f in (large, small))
    assert selected.figures == pytest.approx(expected.figures)
    assert any("matched by name: 10 classes among the model's 1000 outputs" in n for n in selected.notes)


def test_frozen_features_against_scikit_learn(folder) -> None:
    """The k-NN accuracy is scikit-learn's with the same weights; a linear probe is better than chance."""
    from rescale.tasks import task_of
    from rescale.training.judge import recipe_for

    figures = evaluate_folder(folder.path, "digits", evaluators=["knn", "linear"]).figures
    data = open_data("digits").normalised(MEAN, STD)
    task, model = task_of(recipe_for(folder.path), data), folder.load()
    parts = {}
    for part, source in {"train": data.train, "val": data.val}.items():
        batch = next(task.stream(source, 8, rescale.data.Loading(batch=len(source), training=False)))
        features: list[torch.Tensor] = []
        model.head.linear.register_forward_pre_hook(lambda _, args, seen=features: seen.append(args[0]))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16(folder)):
            model(task.inputs(batch))
        parts[part] = features[0].float().numpy(), batch.tensors["labels"].numpy()
    classifier = KNeighborsClassifier(20, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine")
    classifier.fit(*parts["train"])
    assert figures["knn"] == pytest.approx(100 * classifier.score(*parts["val"]), abs=1.0)
    assert figures["linear"] > 60 and len(load_digits().target) == 1797


def bf16(folder: ModelFolder) -> bool:
    from rescale.training import recipe_for

    return recipe_for(folder.path).precision == "bf16"


def test_feature_evaluators_leave_the_model_unchanged(folder) -> None:
    from rescale.data import Loading
    from rescale.tasks import task_of
    from rescale.training import recipe_for
    from rescale.training.evaluate import evaluate

    data = open_data("digits")
    task, model = task_of(recipe_for(folder.path), data), folder.load().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def stream(source):
        return task.stream(source, 8, Loading(batch=256, training=False))

    evaluators = task.evaluators(["knn", "linear"])
    evaluate(model, task, stream(data.val), evaluators=evaluators, train=lambda: stream(data.train))
    assert model.training and all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def test_the_commands(folder, tmp_path, monkeypatch, capsys) -> None:
    from rescale.cli import main

    def run(*words: str) -> tuple[str, str]:
        """What a command prints, to standard output and to standard error."""
        monkeypatch.setattr(sys, "argv", ["rescale", *words])
        with pytest.raises(SystemExit) as exit_:
            main()
            sys.exit(0)
        captured = capsys.readouterr()
        assert not exit_.value.code, captured.err
        return " ".join(captured.out.split()), " ".join(captured.err.split())

    changes = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    out = tmp_path / "run"
    output, progress = run(
        *("train", NET, "--data", "digits", "--weights", str(folder.path), "--freeze", "backbone"),
        *("--device", "cpu", "--threads", "1", "--out", str(out), *changes),
    )
    assert f"{out}: {NET}: top-1 " in output and "normalised as the starting weights" in progress
    table = tmp_path / "predictions.parquet"
    words = ("eval", str(folder.path), "--data", "digits", "--evaluator", "top-k", "--evaluator", "knn")
    (figures,) = json.loads(run(*words, "--predictions", str(table), "--device", "cpu", "--json")[0])
    assert {"top1", "top5", "loss", "knn"} <= figures.keys() and table.is_file()
