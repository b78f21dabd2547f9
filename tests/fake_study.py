"""A study folder with made-up values, as the runner and the trainings would have written it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from rescale.bench.timing import Timing, TimingProtocol
from rescale.figure import Figure
from rescale.lookup import network
from rescale.models import External
from rescale.models.folder import write_model
from rescale.preprocess import Preprocess
from rescale.studies.folder import Failure, StudyFolder
from rescale.studies.plan import Item, Plan, family
from rescale.training.format_1 import TOP_1

ERROR = Figure("angle", "mean error", "degrees", higher_is_better=False)

NETWORKS = {  # top-1 and milliseconds a step: invented
    "resnetrs26x0.125@32": (91.2, 11.0),
    "resnetrs26x0.25@48": (94.4, 15.5),
    "resnetrs26x0.25@32": (97.1, 21.0),
    "resnetrs50x0.25@32": (97.9, 37.0),
    "resnetrs26x0.5@32": (98.2, 52.0),
    "resnet26x0.25@32": (96.1, 19.0),
    "resnet50x0.25@32": (96.9, 35.0),
    "timm:resnet10t@32": (95.0, 33.0),
    "timm:mobilenetv3_small_050@32": (89.5, 24.0),
}


def mirrored(top1: float) -> float:
    """An error that orders the networks as top-1 does."""
    return 100.0 - top1


def plan(networks: dict[str, tuple[float, float]] = NETWORKS, seeds: int = 3, **changes: Any) -> Plan:
    items = tuple(
        Item(model, "resnet-rs", "digits", seed, ("flip=0", "epochs=16"), model, family(model))
        for seed in range(seeds)
        for model in networks
    )
    made = Plan(
        "MADE-UP FIGURES: digits", items, TimingProtocol(batch=32), "rescale study pareto --models ..."
    )
    return replace(made, **changes)


def result(item: Item, top1: float, figure: Figure = TOP_1) -> dict[str, Any]:
    """A result in format 2; by another figure the network is judged by its error."""
    others = {"top5": min(100.0, top1 + 2)} if figure == TOP_1 else {"within_11": top1 / 2}
    value = top1 if figure == TOP_1 else mirrored(top1)
    return {
        "model": item.model,
        "resolution": 32,
        "params": 700_000 + len(item.model) * 13_000,
        "macs": 5_000_000 + len(item.model) * 213_000,
        "activations": 90_000 + len(item.model) * 1_234,
        "task": "classification" if figure == TOP_1 else "pose",
        "headline": figure.as_json(),
        "figures": {figure.name: value, **others, "loss": 0.2, "images": 360},
        "raw": {figure.name: value},
        "averaged": False,
        "val_images": 360,
        "epochs": 16,
        "seconds": 31.5,
        "seed": item.seed,
        "not_applied": [f"{item.model}: stochastic depth by stage"] if item.model.startswith("timm:") else [],
        "bad_images": 0,
    }


def timing(model: str, seconds: float, **changes: Any) -> Timing:
    made = Timing(
        model=model,
        resolution=32,
        mode="train",
        batch=32,
        batch_fitted=32,
        latency_s=seconds,
        quartiles_s=(0.95 * seconds, 1.1 * seconds),
        images_per_s=32 / seconds,
        memory_bytes=int(seconds * 9e9),
        precision="fp32",
        fast="channels_last",
        settings={"device": "Imaginary CPU", "cores": 2, "threads": 2, "load_average": 0.1, "torch": "2.15"},
    )
    return replace(made, **changes)


def finish(study: StudyFolder, item: Item, top1: float, figure: Figure = TOP_1) -> None:
    """Write what a training leaves behind."""
    folder = study.run(item)
    folder.mkdir(parents=True, exist_ok=True)
    is_external = item.model.startswith("timm:")
    write_model(folder, External(item.model, 32, 10) if is_external else network(item.model))
    Preprocess((0.5,) * 3, (0.5,) * 3, 32).write(folder / "preprocess.json")
    recipe = {"name": "resnet-rs", "epochs": 16, "flip": 0.0, "dropout": 0.25 if "rs" in item.model else 0.0}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "result.json").write_text(json.dumps(result(item, top1, figure)))


def fake_study(path: Path, *, seeds: int = 3, failing: str = "", figure: Figure = TOP_1) -> StudyFolder:
    """A finished study; one network may have failed. figure: the headline figure."""
    StudyFolder(path).keep_plan(plan(seeds=seeds))
    study = StudyFolder(path)
    for item in study.plan.items:
        if item.label == failing:
            failure = Failure("training", item.label, item.seed, "step 7: the loss is nan")
            study.keep_failure(item.name, failure)
        else:
            finish(study, item, NETWORKS[item.label][0] + 0.2 * (item.seed - (seeds - 1) / 2), figure)
    for label, (_, milliseconds) in NETWORKS.items():
        if label != failing:
            study.keep_timing(label, timing(label, milliseconds / 1000))
    return study


ADDITIVE = {  # model, changes and top-1 of three seeds: invented
    "baseline": ("resnet26x0.25@32", (), (95.0, 95.3, 95.2)),
    "+ smoothing": ("resnet26x0.25@32", ("label_smoothing=0.1",), (95.1, 95.2, 95.5)),
    "+ SE": ("resnet26x0.25+se@32", ("label_smoothing=0.1",), (98.1, 98.3, 98.5)),
    "+ noise": ("resnet26x0.25+se@32", ("label_smoothing=0.1", "dropout=0.9"), (97.0, 98.9, 97.5)),
}


def additive_study(path: Path, *, seeds: int = 3) -> StudyFolder:
    """A finished study of a plan that a person wrote, in which each row adds a change."""
    items = tuple(
        Item(model, "resnet-2015", "digits", seed, ("epochs=16", *own), label, "resnet")
        for seed in range(seeds)
        for label, (model, own, _) in ADDITIVE.items()
    )
    made = Plan("MADE-UP FIGURES: additive", items, TimingProtocol(batch=32), kind="additive")
    StudyFolder(path).keep_plan(made)
    study = StudyFolder(path)
    for item in items:
        finish(study, item, ADDITIVE[item.label][2][item.seed])
    for label in ("baseline", "+ SE"):
        study.keep_timing(label, timing(label, 0.02))
    return study
