"""What a study's runs train, resolved: it decides which runs are equal, and whether a study is the same."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rescale.errors import first_few
from rescale.models import External
from rescale.models.provenance import code_of
from rescale.models.start import StartingWeights
from rescale.network import Network
from rescale.outputs import RUN_FILE
from rescale.recipes import Recipe
from rescale.training.begin import identity
from rescale.training.run import BEHAVIOUR, Run


@dataclass(frozen=True)
class Configuration:
    """What the runs of one network train.

    Args:
        network: the network's identity.
        data: digest of the data.
        recipe: resolved, without its name and precision, as plain data.
        code: `behaviour`, a number that rises when the same recipe gives other results by this project's
            own code, and `model`, the version of an external model's code.
        runs: identity of the run of each seed, where it is known before the runs are made.
    """

    network: str
    data: str
    recipe: Mapping[str, Any]
    code: Mapping[str, Any]
    runs: Mapping[int, str]

    def plain(self) -> dict[str, Any]:
        """As plain data, for a file."""
        return asdict(self)


def configuration(
    model: Network | External,
    recipe: Recipe,
    data: str,
    seeds: tuple[int, ...],
    start: StartingWeights | None = None,
) -> Configuration:
    """The configuration of runs that differ in the seed alone.

    Args:
        model: with the outputs that the data needs.
        recipe: resolved.
        data: digest of the data.
        seeds: of the runs whose identity is known: of those that start from the weights of a run that is
            still to be made it is not.
        start: the weights they start from.
    """
    runs = {seed: identity(model, recipe, data, seed, start) for seed in seeds}
    plain = json.loads(recipe.identity_text())
    return Configuration(model.identity, data, plain, code_now(model), runs)


def code_now(model: Network | External) -> dict[str, Any]:
    """The code that a run of the model would have now, as `run.json` stores it."""
    return {"behaviour": BEHAVIOUR, "model": code_of(model)}


def differences(old: Configuration, new: Configuration) -> list[str]:
    """What differs, beside the seeds: "dropout was 0.25, is 0.2"."""
    lines = _changes(old.recipe, new.recipe)
    if old.network != new.network:
        lines.insert(0, "the network is another one")
    if old.data != new.data:
        lines.append("the data is not the same (its digest differs)")
    return [*lines, *_changes(old.code, new.code, "code of the ")]


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], before: str = "") -> list[str]:
    return [
        f"{before}{key} was {old.get(key)}, is {new.get(key)}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]


def mismatch(folder: Path, planned: Configuration, seed: int) -> str:
    """How a run that has begun differs from what its study would train; empty if it does not.

    Runs of earlier versions do not say which code they have; they are taken as they are.
    """
    try:
        facts = json.loads((folder / RUN_FILE).read_text())
    except (OSError, ValueError):  # not begun, or damaged, which resuming it will say
        return ""
    lines = _changes(facts.get("code", planned.code), planned.code, "code of the ")
    if facts["identity"] != planned.runs.get(seed, facts["identity"]):
        run = Run(folder)
        old = Configuration(
            run.model.identity, facts["data_digest"], json.loads(run.recipe.identity_text()), planned.code, {}
        )
        lines = [*differences(old, planned), *lines] or ["another seed or other starting weights"]
    return first_few(lines, 4)
