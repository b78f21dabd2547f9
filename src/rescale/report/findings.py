"""The contents of a study's report, read once from its folder; other modules draw and print them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rescale.bench.timing import Timing
from rescale.data import DataSpec
from rescale.errors import first_few, plural
from rescale.figure import Figure
from rescale.report import units
from rescale.studies import Failure, Item, Plan, Row, Speedup, StudyFolder, aggregate, best_first, speedups

BUSY = 0.25  # cores that others may use while a network is timed before the report warns
TIMED = {"train": "training step", "infer": "inference"}


@dataclass(frozen=True)
class Findings:
    """All that is known about a study. results: finished runs. recipes: resolved, by label."""

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
    def figure(self) -> Figure | None:
        """The headline figure; None before a run has finished."""
        return self.rows[0].figure if self.rows else None

    @property
    def timed(self) -> str:
        """What was timed: "training step of 32 images"."""
        timing = self.plan.timing
        return f"{TIMED[timing.mode]} of {plural(timing.batch, 'image')}"

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
            "data " + ", ".join(dict.fromkeys(DataSpec.of(item.data).name for item in self.plan.items)),
            "recipe " + ", ".join(dict.fromkeys(item.recipe for item in self.plan.items)),
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
            share = best.value / 100
            error = 100 * math.sqrt(share * (1 - share) / best.val_images)
            text += (
                f": at {units.with_unit(units.digits(best.value), best.figure)} the choice of these images "
                f"alone has a standard error of {error:.2f} points"
            )
        if max(row.seeds for row in self.rows) == 1:
            return text + ". One seed each, so there are no error bars over seeds."
        return text + ". ± is the standard deviation over seeds (n − 1)."

    @property
    def speedup_sentences(self) -> list[str]:
        """Each pair of groups that can be compared, in words."""
        return [speedup_sentence(pair, self.figure) for pair in self.speedups if self.figure]

    @property
    def departures(self) -> list[str]:
        """Changes to the named recipes, and the plan's notes."""
        changes = dict.fromkeys((item.recipe, change) for item in self.plan.items for change in item.changes)
        return [*(f"{recipe}: {change}" for recipe, change in changes), *self.plan.notes]

    @property
    def counted(self) -> str:
        """How the multiply-adds of external models were counted, in a sentence; empty if there are none."""
        means = {"flop counter": "by torch's flop counter", "hooks": "in the modules of a forward pass"}
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
    def warnings(self) -> list[str]:
        """Circumstances that make the results less reliable."""
        warnings = [
            f"{label}: only {t.batch_fitted} of {plural(t.batch, 'image')} fitted; "
            f"seconds are scaled to {t.batch}"
            for label, t in self.timings.items()
            if t.batch_fitted < t.batch
        ]
        warnings += [
            f"{label}: other processes kept {busy:.1f} cores busy while it was timed"
            for label, t in self.timings.items()
            if (busy := t.settings.get("others_busy_cores") or 0) > BUSY
        ]
        if bad := sum(result.get("bad_images", 0) for result in self.results.values()):
            warnings.append(f"{plural(bad, 'damaged image')} replaced, counted over all runs")
        if self.missing:
            warnings.append(f"not finished: {', '.join(item.name for item in self.missing)}")
        return warnings


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


def gather(path: Path) -> Findings:
    """Read a study's folder. Raises UserError if there is none."""
    study = StudyFolder(path)
    plan, results, timings = study.plan, study.results(), study.timings()
    rows = aggregate(results, timings)
    recipes = {item.label: _recipe(study.run(item)) for item in results}
    return Findings(path, plan, results, timings, rows, speedups(rows), study.failures(), recipes)


def _range(values: list[int] | list[float]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g}–{values[-1]:g}"


def _recipe(run: Path) -> dict[str, Any]:
    """The resolved recipe as the run's folder holds it."""
    return dict(yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8")))


def speedup_sentence(speedup: Speedup, figure: Figure) -> str:
    """A speed-up in words: how much, and at which values of the headline figure."""

    def shown(quality: float) -> str:
        return units.digits(figure.oriented(quality))  # also reverts an oriented value

    pair = f"as fast as {speedup.slow} at equal {figure.label}"
    worst, best = shown(speedup.worst), shown(speedup.best)
    if speedup.high / speedup.low < 1.005:
        where = units.with_unit(best if worst == best else f"{worst}–{best}", figure)
        return f"{speedup.fast} is {units.digits(speedup.low)}× {pair} ({where})"
    least, most = (units.with_unit(shown(place), figure) for place in (speedup.low_at, speedup.high_at))
    return (
        f"{speedup.fast} is {units.digits(speedup.low)}×–{units.digits(speedup.high)}× {pair}, "
        f"compared from {worst} to {units.with_unit(best, figure)} (least at {least}, most at {most})"
    )
