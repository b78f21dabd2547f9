"""The command that makes one training of a study by hand."""

from collections.abc import Mapping
from pathlib import Path
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


def training_command(plan: Plan, item: Item, settings: Mapping[str, Any], out: str) -> list[str]:
    """The words of the command.

    Args:
        plan: the study's plan.
        item: the run. Another run that it starts from is in `runs`.
        settings: how it is executed, by the names of `rescale.training.Settings`; others are left out.
        out: the run's folder.
    """
    data = DataSpec.of(item.data)
    words = ["rescale", "train", item.model, "--recipe", item.recipe]
    for option, path in (("--data", data.source), ("--train", data.train), ("--val", data.val)):
        words += [option, path] if path else []
    for change in item.changes:
        words += ["--set", change]
    if item.weights:
        words += ["--weights", weights_of(plan, item)]
    words += ["--seed", str(item.seed)]
    for name, option in OPTIONS.items():
        if name in settings:
            words += [option, str(settings[name])]
    return [*words, "--out", out]


def weights_of(plan: Plan, item: Item, runs: str | Path = "runs") -> str:
    """What a run starts from: a file or folder, for another run its folder; empty if nothing.

    runs: the folder of the study's runs.
    """
    needed = plan.needed(item)
    return item.weights if needed is None else str(Path(runs) / needed.name)
