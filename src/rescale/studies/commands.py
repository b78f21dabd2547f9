"""The command that makes one training of a study by hand."""

from collections.abc import Mapping
from typing import Any

from rescale.data.spec import DataSpec
from rescale.studies.plan import Item, Plan

OPTIONS = {  # of rescale train, by the settings of a run
    "threads": "--threads",
    "fast": "--fast",
    "device": "--device",
    "workers": "--workers",
    "eval_epochs": "--eval-epochs",
    "on_bad_image": "--on-bad-image",
}


def training_command(item: Item, settings: Mapping[str, Any], out: str, weights: str = "") -> list[str]:
    """The words of the command.

    Args:
        item: the run.
        settings: how it is executed, by the names of `rescale.training.Settings`; others are left out.
        out: the run's folder.
        weights: what it starts from: a file or folder, in place of the item's run:LABEL.
    """
    data = DataSpec.of(item.data)
    words = ["rescale", "train", item.model, "--recipe", item.recipe]
    for option, path in (("--data", data.source), ("--train", data.train), ("--val", data.val)):
        words += [option, path] if path else []
    for change in item.changes:
        words += ["--set", change]
    if item.weights:
        words += ["--weights", weights]
    words += ["--seed", str(item.seed)]
    for name, option in OPTIONS.items():
        if name in settings:
            words += [option, str(settings[name])]
    return [*words, "--out", out]


def weights_of(plan: Plan, item: Item) -> str:
    """What a run starts from, where its study's runs are in `runs`: a file or folder; empty if nothing."""
    needed = plan.needed(item)
    return item.weights if needed is None else f"runs/{needed.name}"
