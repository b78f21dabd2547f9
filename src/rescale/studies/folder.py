"""A study's folder: its plan, runs, timings, failures and logs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rescale.bench.timing import Timing
from rescale.errors import UserError, first_few
from rescale.files import LOCK, is_temporary, write_text
from rescale.outputs import RESULT
from rescale.studies.configuration import Configuration, differences, mismatch
from rescale.studies.plan import Item, Plan, file_name
from rescale.studies.plan_file import PLAN, from_file, plan_in, resolved_in, to_yaml
from rescale.tasks.scores import scores_of
from rescale.training.format_1 import upgraded_result
from rescale.training.predictions import FILE, read_predictions
from rescale.training.run import Run


@dataclass(frozen=True)
class Failure:
    """A run or a timing that failed. what: training or timing. reason: one line."""

    what: str
    label: str
    seed: int | None
    reason: str
    attempts: int = 1


@dataclass(frozen=True)
class StudyFolder:
    """plan.yaml, runs/NAME-sSEED/, timings/NAME.json, failures/NAME.json, logs/NAME-sSEED.log.

    plan.yaml may be a person's file, which is never rewritten; runs/plan.yaml is the plan as it was last run.
    """

    path: Path

    @property
    def plan_file(self) -> Path:
        """The file of the plan."""
        return self.path / PLAN

    @cached_property
    def plan(self) -> Plan:
        """The plan. Raises UserError if there is none."""
        return plan_in(self.path)

    def run(self, item: Item) -> Path:
        """The run's folder."""
        return self.path / "runs" / item.name

    def log(self, item: Item) -> Path:
        """The output of the run's process."""
        return self.path / "logs" / f"{item.name}.log"

    def result(self, item: Item) -> dict[str, Any] | None:
        """The run's result in format 2, whatever format it was written in; None until it has finished."""
        try:
            return upgraded_result(json.loads((self.run(item) / RESULT).read_text()))
        except FileNotFoundError:
            return None

    def results(self) -> dict[Item, dict[str, Any]]:
        """The results of all finished runs, in the plan's order."""
        return {item: result for item in self.plan.items if (result := self.result(item))}

    def scores(self, item: Item) -> dict[str, float] | None:
        """The score of each held-out image of a finished run, by its key; None if the run has none.

        The headline figure is their mean. Runs of old versions have no predictions, and some figures are no
        means over images.
        """
        file = self.run(item) / FILE
        if not file.is_file():
            return None
        predictions = read_predictions(file)
        scores = scores_of(predictions)
        if scores is None:
            return None
        return dict(zip(predictions["key"].tolist(), scores.tolist(), strict=True))

    def networks(self) -> dict[str, str]:
        """What is timed once, by label: the network's identity, and the precision if it is that of the run.

        Of the labels with a finished run, in the plan's order.
        """
        as_trained = self.plan.timing.precision == "auto"
        first: dict[str, Run] = {}
        for item in self.results():
            first.setdefault(item.label, Run(self.run(item)))
        return {
            label: f"{run.model.identity} {run.recipe.precision if as_trained else ''}"
            for label, run in first.items()
        }

    def timings(self) -> dict[str, Timing]:
        """The timing of each label whose network has one; labels of the same network share the first."""
        networks = self.networks()
        of_network: dict[str, Timing] = {}
        for label, network in networks.items():
            if network not in of_network and (timing := self._timing(label)):
                of_network[network] = timing
        return {label: of_network[key] for label, key in networks.items() if key in of_network}

    def _timing(self, label: str) -> Timing | None:
        try:
            return Timing.from_json(self._timing_file(label).read_text())
        except FileNotFoundError:
            return None

    def keep_timing(self, label: str, timing: Timing) -> None:
        """Store a timing."""
        self._write(self._timing_file(label), timing.to_json())

    def failures(self) -> list[Failure]:
        """All failures that no later attempt has removed."""
        files = sorted((self.path / "failures").glob("*.json"))
        return [Failure(**json.loads(file.read_text())) for file in files]

    def keep_failure(self, name: str, failure: Failure) -> None:
        """Store a failure of the run (or network) `name`."""
        self._write(self.path / "failures" / f"{name}.json", json.dumps(asdict(failure), indent=2))

    def forget_failure(self, name: str) -> None:
        """Remove a failure, because the run or network is tried again."""
        (self.path / "failures" / f"{name}.json").unlink(missing_ok=True)

    def check_available(self, plan: Plan, configurations: Mapping[str, Configuration] | None = None) -> None:
        """Raise UserError if the folder holds another study or anything else.

        A stored plan may gain models and seeds; any other change is refused.

        Args:
            plan: the plan to run.
            configurations: what the runs of each label would train, by this version and with the data as it
                is now; compared with what they were planned to train, and with the runs that have begun.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: is a file; give a folder that is empty or does not exist")
        if self.plan_file.exists():
            last_run = from_file(self._last_run) if self._last_run.is_file() else self.plan
            check_same_study(self.path, last_run, plan)
            self._check_configurations(plan, configurations or {})
        elif self.path.is_dir() and any(
            entry.name != LOCK and not is_temporary(entry) for entry in self.path.iterdir()
        ):
            raise UserError(f"{self.path}: holds something that is no study; give another --out")

    def _check_configurations(self, plan: Plan, now: Mapping[str, Configuration]) -> None:
        stored = resolved_in(self._last_run) if self._last_run.is_file() else {}
        lines = {
            label: first_few(differences(Configuration(**stored[label]), planned), 4)
            for label, planned in now.items()
            if label in stored
        }
        for item in plan.items:
            if item.label in now and not lines.get(item.label):
                lines[item.label] = mismatch(self.run(item), now[item.label], item.seed)
        if different := {label: line for label, line in lines.items() if line}:
            raise UserError(
                *(f"{self.path}: {label}: {line}" for label, line in list(different.items())[:3]),
                "these runs were planned by other rules, code or data: use another --out, or what they had",
            )

    def keep_plan(self, plan: Plan, configurations: Mapping[str, Configuration] | None = None) -> None:
        """Store the plan, replacing any other; a file that says the same stays as it was written.

        configurations: what the runs of each label train, stored beside it.
        """
        if not (self.plan_file.is_file() and from_file(self.plan_file) == plan):
            self._write(self.plan_file, to_yaml(plan))
        resolved = {label: planned.plain() for label, planned in (configurations or {}).items()}
        self._write(self._last_run, to_yaml(plan, resolved))

    @property
    def _last_run(self) -> Path:
        return self.path / "runs" / PLAN

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)

    def _timing_file(self, label: str) -> Path:
        return self.path / "timings" / f"{file_name(label)}.json"


def check_same_study(path: Path, old: Plan, new: Plan) -> None:
    """Raise UserError unless `new` holds every run of `old`, timed in the same way."""
    missing = [item for item in old.items if item not in new.items]
    here = {item.name: item for item in new.items}
    lines = []
    for item in missing[:3]:
        if item.name not in here:
            lines.append(f"{path}: holds another study: it has {item.name}, which is not asked for")
        else:
            changed = fields_that_differ(item, here[item.name])
            lines.append(f"{path}: holds another study: {item.name} has {changed}")
    if old.kind != new.kind:
        lines.append(f"{path}: holds another study: of kind {old.kind}, not {new.kind}")
    if old.timing != new.timing:
        lines.append(f"{path}: timed in another way: {fields_that_differ(old.timing, new.timing)}")
    if lines:
        way_out = (
            "undo the change in plan.yaml, or give what is new another label and keep the old items"
            if new.by_hand
            else "use another --out, or repeat the first command to continue this study"
        )
        raise UserError(*lines, way_out)


def fields_that_differ(old: Item | Any, new: Item | Any) -> str:
    """The fields that differ, as "recipe resnet-rs, not resnet-2015"."""
    before: Mapping[str, Any] = asdict(old)
    after: Mapping[str, Any] = asdict(new)
    return "; ".join(f"{k} {_plain(v)}, not {_plain(after[k])}" for k, v in before.items() if v != after[k])


def _plain(value: Any) -> str:
    return " ".join(value) or "none" if isinstance(value, tuple) else str(value)
