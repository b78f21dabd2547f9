"""The contents of a study's report, read once from its folder; other modules draw and print them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rescale import units
from rescale.bench.timing import Timing
from rescale.data import DataSpec
from rescale.errors import first_few, plural
from rescale.figure import Figure
from rescale.studies import (
    Failure,
    Item,
    Plan,
    Row,
    Speedup,
    StudyFolder,
    aggregate,
    best_first,
    short_names,
    speedups,
    values_by_seed,
)
from rescale.studies.evidence import Evidence, evidence_of, image_scores
from rescale.studies.kinds import Analysis, Kind, Outcome, kind_of

BUSY = 0.25  # cores that others may use while a network is timed before the report warns
TIMED = {"train": "training step", "infer": "inference"}
TIME = {"train": "training step", "infer": "latency"}  # what its time is called


class Budget(NamedTuple):
    """What the trainings of a group took. seconds: of all trainings, of which several may run at a time."""

    trainings: int
    seconds: float


@dataclass(frozen=True)
class Findings:
    """All that is known about a study.

    results: finished runs. analysis: what the kind of study makes of them. recipes: resolved, by label.
    evidence: how far the values can be trusted. price_per_hour: of the machine that trained, in any currency;
    None if unknown.
    """

    folder: Path
    plan: Plan
    results: Mapping[Item, Mapping[str, Any]]
    timings: Mapping[str, Timing]
    analysis: Analysis
    speedups: list[Speedup]
    failures: list[Failure]
    recipes: Mapping[str, Mapping[str, Any]]
    evidence: Evidence = field(default_factory=Evidence)
    price_per_hour: float | None = None

    @property
    def kind(self) -> Kind:
        """The kind of study."""
        return kind_of(self.plan)

    @property
    def rows(self) -> Sequence[Row]:
        """The networks with a finished run, in the order of the report's tables."""
        return self.analysis.rows

    @property
    def budgets(self) -> dict[str, Budget]:
        """What the finished trainings of each group took."""
        spent: dict[str, Budget] = {}
        for item, result in self.results.items():
            before = spent.get(item.group, Budget(0, 0.0))
            spent[item.group] = Budget(before.trainings + 1, before.seconds + result["seconds"])
        return spent

    @property
    def missing(self) -> list[Item]:
        """Runs that have neither finished nor failed."""
        failed = {(failure.label, failure.seed) for failure in self.failures}
        return [i for i in self.plan.items if i not in self.results and (i.label, i.seed) not in failed]

    @property
    def figure(self) -> Figure | None:
        """The headline figure; None before a run has finished."""
        return self.rows[0].figure if self.rows else None

    @property
    def timed(self) -> str:
        """What was timed: "training step of 32 images"."""
        timing = self.plan.timing
        return f"{TIMED[timing.mode]} of {plural(timing.batch, 'image')}"

    @property
    def time_name(self) -> str:
        """What the measured time is called: training step, or latency."""
        return TIME[self.plan.timing.mode]

    @property
    def time_of(self) -> str:
        """The measured time in full: "training step of 32 images", or "latency: inference of 32 images"."""
        return self.timed if self.time_name in self.timed else f"{self.time_name}: {self.timed}"

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
        models = list(dict.fromkeys(item.model for item in self.plan.items))
        parts = [
            *(short_names(models).values() if len(models) == 1 and len(self.plan.labels) > 1 else []),
            "data " + ", ".join(dict.fromkeys(DataSpec.of(item.data).name for item in self.plan.items)),
            "recipe " + ", ".join(dict.fromkeys(Path(item.recipe).stem for item in self.plan.items)),
        ]
        if self.rows:
            parts.append(f"{_range(epochs)} epochs")
            parts.append(f"{_range(seeds)} seed" + ("s" if seeds != [1] else ""))
        return ", ".join(parts)

    @property
    def uncertainty(self) -> str:
        """How far the headline figure can be trusted: the size of the held-out set, and the seeds."""
        if not self.rows:
            return ""
        best = best_first(self.rows)[0]
        text = f"All values are from {plural(best.val_images, 'held-out image')}"
        if best.figure.is_share:
            low, high = map(units.digits, share_interval(best.value, best.val_images))
            value = units.with_unit(units.digits(best.value), best.figure)
            text += (
                f": at {value} the choice of these images alone leaves an interval of 95 % from {low} to "
                f"{units.with_unit(high, best.figure)}"
            )
        if max(row.seeds for row in self.rows) == 1:
            return text + ". One seed each, so there are no error bars over seeds."
        return text + f". ± is the standard deviation over seeds (n − 1).{self._floor}"

    @property
    def _floor(self) -> str:
        """How much of the spread over seeds the number of images explains alone; empty where unknown."""
        both = [(row.value_std, row.value_floor) for row in self.rows if row.value_std and row.value_floor]
        if not both:
            return ""
        spread, explained = (
            units.digits((sum(value**2 for value in values) / len(both)) ** 0.5)
            for values in zip(*both, strict=True)
        )
        unit = units.points(self.rows[0].figure)
        return (
            f" The number of these images alone explains {f'{explained} {unit}'.rstrip()} of a spread of "
            f"{spread} (root mean squares)."
        )

    @property
    def departures(self) -> list[str]:
        """What all rows change of the named recipe, and the plan's notes, which may explain a change."""
        noted = {note.partition(":")[0] for note in self.plan.notes}
        return [*(change for change in self.plan.shared_changes if change not in noted), *self.plan.notes]

    @property
    def own_changes(self) -> dict[str, list[str]]:
        """By label, what a row and not all rows change of the recipe; with several recipes also its name."""
        shared = self.plan.shared_changes
        several = len({item.recipe for item in self.plan.items}) > 1
        return {
            item.label: [
                *([Path(item.recipe).stem] if several else []),
                *(change for change in item.changes if change not in shared),
            ]
            for item in self.plan.items
        }

    @property
    def counted(self) -> str:
        """How the multiply-adds of external models were counted, in a sentence; empty if there are none."""
        means = {
            "flop counter": "by torch's flop counter",
            "hooks": "in the modules of a forward pass",
            "incomplete": "in part (a lower bound)",
        }
        groups = {
            text: [row.label for row in self.rows if row.counted == source] for source, text in means.items()
        }
        parts = [f"those of {first_few(labels)} {text}" for text, labels in groups.items() if labels]
        if not parts:
            return ""
        return f"MACs: {', '.join(parts)}; of rescale's own networks from their description."

    @property
    def notes(self) -> list[str]:
        """Choices and assumptions of the runs and parts of a recipe that did not apply, each once.

        A remark about several networks names all of them.
        """
        return by_remark(line for result in self.results.values() for line in result["not_applied"])

    @property
    def timing_warnings(self) -> list[str]:
        """Circumstances that make the times less reliable, once for each timing."""
        first: dict[int, str] = {}
        for label, timing in self.timings.items():
            first.setdefault(id(timing), label)
        once = [(label, self.timings[label]) for label in first.values()]
        warnings = [
            f"{label}: only {t.batch_fitted} of {plural(t.batch, 'image')} fitted; "
            f"seconds are scaled to {t.batch}"
            for label, t in once
            if t.batch_fitted < t.batch
        ]
        busy = {label: used for label, t in once if (used := _others_busy(t)) > BUSY}
        if busy:
            least, most = f"{min(busy.values()):.1f}", f"{max(busy.values()):.1f}"
            cores = least if least == most else f"{least} to {most}"
            if len(busy) == 1:
                timed = f"{next(iter(busy))} was timed"
            else:
                timed = f"{len(busy)} networks were timed: {first_few(list(busy))}"
            warnings.append(f"other processes kept {cores} cores busy while {timed}")
        return warnings

    @property
    def other_warnings(self) -> list[str]:
        """Damaged images, and runs that have not finished."""
        warnings = []
        if bad := sum(result.get("bad_images", 0) for result in self.results.values()):
            warnings.append(f"{plural(bad, 'damaged image')} replaced, counted over all runs")
        if self.missing:
            names = first_few([item.name for item in self.missing])
            warnings.append(f"not finished, {plural(len(self.missing), 'run')}: {names}")
        if self.evidence.unscored:
            names = first_few(self.evidence.unscored)
            warnings.append(f"no scores of single images, so not compared image by image: {names}")
        return warnings

    @property
    def warnings(self) -> list[str]:
        """All circumstances that make the results less reliable."""
        return [*self.timing_warnings, *self.other_warnings]


def share_interval(percent: float, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of right answers, in percent; it also holds at 0 and 100 %.

    Args:
        percent: the share on the held-out images; a mean over seeds is rounded to whole images.
        images: the number of held-out images, at least 1.
    """
    from scipy.stats import binomtest

    interval = binomtest(round(percent / 100 * images), images).proportion_ci(0.95, method="wilson")
    return 100 * interval.low, 100 * interval.high


def by_remark(lines: Iterable[str]) -> list[str]:
    """Lines of the form `network: remark`, those of one remark joined; other lines once."""
    networks: dict[tuple[str, str], list[str]] = {}
    for line in dict.fromkeys(lines):
        name, colon, remark = line.partition(": ")
        networks.setdefault((colon, remark) if colon else ("", line), []).append(name)
    return [
        f"{first_few(names)}{colon}{remark}" if colon else remark
        for (colon, remark), names in networks.items()
    ]


def gather(path: Path, price_per_hour: float | None = None) -> Findings:
    """Read a study's folder. Raises UserError if there is none.

    price_per_hour: of the machine that trained, for the report.
    """
    study = StudyFolder(path)
    plan, results, timings = study.plan, study.results(), study.timings()
    rows, values = aggregate(results, timings), values_by_seed(results)
    compared_fronts = speedups(rows)
    scores, unscored = image_scores(study, list(results))
    evidence = evidence_of(rows, timings, values, scores, compared_fronts, unscored)
    rows = [
        replace(
            row,
            front_chance=evidence.chances.get(row.label),
            value_floor=evidence.floors.get(row.label),
        )
        for row in rows
    ]
    return Findings(
        path,
        plan,
        results,
        timings,
        kind_of(plan).analyse(Outcome(plan, rows, values, scores)),
        compared_fronts,
        study.failures(),
        {item.label: _recipe(study.run(item)) for item in results},
        evidence,
        price_per_hour,
    )


def _others_busy(timing: Timing) -> float:
    """Cores that other processes used during a timing; 0 where unknown."""
    return float(timing.settings.get("others_busy_cores") or 0)


def _range(values: list[int] | list[float]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g}–{values[-1]:g}"


def _recipe(run: Path) -> dict[str, Any]:
    """The resolved recipe as the run's folder holds it."""
    return dict(yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8")))
