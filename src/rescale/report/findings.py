"""What a report tells of a study: read once from its folder, drawn and printed by the others."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rescale.bench.timing import Timing
from rescale.report import units
from rescale.studies import Failure, Item, Plan, Row, Speedup, StudyFolder, aggregate, speedups

BUSY = 0.25  # cores that others may use while a network is timed before the report warns
CLOCKED = {"train": "training step", "infer": "inference"}


@dataclass(frozen=True)
class Findings:
    """Everything known of a study. results: finished runs. recipes: resolved, by label."""

    folder: Path
    plan: Plan
    results: Mapping[Item, Mapping[str, Any]]
    timings: Mapping[str, Timing]
    rows: list[Row]
    speedups: list[Speedup]
    failures: list[Failure]
    recipes: Mapping[str, Mapping[str, Any]]

    @property
    def missing(self) -> list[Item]:
        """Runs that have neither finished nor failed."""
        failed = {(failure.label, failure.seed) for failure in self.failures}
        return [i for i in self.plan.items if i not in self.results and (i.label, i.seed) not in failed]

    @property
    def clock(self) -> str:
        """What the seconds are of: "training step of 32 images"."""
        timing = self.plan.timing
        return f"{CLOCKED[timing.mode]} of {timing.batch} images"

    @property
    def device(self) -> str:
        """Where and how it was timed."""
        if not self.timings:
            return "not timed"
        used = list(self.timings.values())
        names = sorted({str(t.settings.get("device")) for t in used})
        threads = sorted({str(t.settings.get("threads")) for t in used})
        precisions = sorted({t.precision for t in used})
        on_cpu = self.plan.timing.device == "cpu"
        return ", ".join(
            [
                " and ".join(names),
                *([f"{' and '.join(threads)} thread" + ("s" if threads != ["1"] else "")] if on_cpu else []),
                " and ".join(precisions),
            ]
        )

    @property
    def trained_on(self) -> str:
        """Data, recipe and length of the runs, in a line."""
        epochs = sorted({row.epochs for row in self.rows})
        seeds = sorted({row.seeds for row in self.rows})
        parts = [
            "data " + ", ".join(dict.fromkeys(item.data for item in self.plan.items)),
            "recipe " + ", ".join(dict.fromkeys(item.recipe for item in self.plan.items)),
        ]
        if self.rows:
            parts.append(f"{_range(epochs)} epochs")
            parts.append(f"{_range(seeds)} seed" + ("s" if seeds != [1] else ""))
        return ", ".join(parts)

    @property
    def resolution_of_accuracy(self) -> str:
        """How far a top-1 figure can be trusted: seeds, and the size of the held-out set."""
        if not self.rows:
            return ""
        best = max(self.rows, key=lambda row: row.top1)
        share = best.top1 / 100
        error = 100 * math.sqrt(share * (1 - share) / best.val_images)
        text = (
            f"Accuracy is measured on {best.val_images} held-out images: at {best.top1:.1f} % the choice of "
            f"these images alone has a standard error of {error:.2f} points."
        )
        if max(row.seeds for row in self.rows) == 1:
            return text + " One seed each, so there are no error bars over seeds."
        return text + " ± is the standard deviation over seeds (n − 1)."

    @property
    def departures(self) -> list[str]:
        """What was changed of the named recipes, and what the plan says was cut."""
        changes = dict.fromkeys((item.recipe, change) for item in self.plan.items for change in item.changes)
        return [*(f"{recipe}: {change}" for recipe, change in changes), *self.plan.notes]

    @property
    def not_applied(self) -> list[str]:
        """What of a recipe did not apply to a network, each once."""
        return list(dict.fromkeys(line for result in self.results.values() for line in result["not_applied"]))

    @property
    def warnings(self) -> list[str]:
        """Circumstances that weaken the figures."""
        found = [
            f"{label}: only {t.batch_fitted} of {t.batch} images fitted; seconds are scaled to {t.batch}"
            for label, t in self.timings.items()
            if t.batch_fitted < t.batch
        ]
        found += [
            f"{label}: other processes kept {busy:.1f} cores busy while it was timed"
            for label, t in self.timings.items()
            if (busy := t.settings.get("others_busy_cores") or 0) > BUSY
        ]
        if bad := sum(result.get("bad_images", 0) for result in self.results.values()):
            found.append(f"{bad} damaged images were met and replaced, counted over all runs")
        if self.missing:
            found.append(f"not finished: {', '.join(item.name for item in self.missing)}")
        return found


def gather(path: Path) -> Findings:
    """Read a study's folder. Raises UserError where there is none."""
    study = StudyFolder(path)
    plan, results, timings = study.plan, study.results(), study.timings()
    rows = aggregate(results, timings)
    recipes = {item.label: _recipe(study.run(item)) for item in results}
    return Findings(path, plan, results, timings, rows, speedups(rows), study.failures(), recipes)


def _range(values: list[int] | list[float]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]}–{values[-1]}"


def _recipe(run: Path) -> dict[str, Any]:
    """The resolved recipe as the run's folder holds it."""
    return dict(yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8")))


def said(found: Speedup) -> str:
    """A speed-up in words: how much, and at which accuracies."""
    pair = f"as fast as {found.slow} at equal top-1"
    if found.high / found.low < 1.005:
        where = f"{found.from_accuracy:.1f} %"
        if found.to_accuracy - found.from_accuracy >= 0.05:
            where = f"{found.from_accuracy:.1f}–{where}"
        return f"{found.fast} is {units.digits(found.low)}× {pair} ({where})"
    return (
        f"{found.fast} is {units.digits(found.low)}×–{units.digits(found.high)}× {pair}, "
        f"compared from {found.from_accuracy:.1f} to {found.to_accuracy:.1f} % "
        f"(least at {found.low_at:.1f} %, most at {found.high_at:.1f} %)"
    )
