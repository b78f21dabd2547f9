"""What a study says, in words: no more than its seeds can tell."""

from rescale import units
from rescale.duration import clock
from rescale.errors import plural
from rescale.figure import Figure
from rescale.report.findings import Findings
from rescale.studies import Difference, Row, Speedup, smallest_visible
from rescale.studies.differences import LEAST, POWER
from rescale.studies.images import ImageDifference
from rescale.studies.wording import FEW_SEEDS, method


def headline(findings: Findings) -> str:
    """The result in a sentence or two."""
    return findings.analysis.answer or "No network has finished training yet."


def difference_text(difference: Difference | None, row: Row) -> str:
    """A difference as a cell: its mean, and its interval or why it has none."""
    if difference is None:
        return units.MISSING
    if difference.mean is None:
        return FEW_SEEDS[0]
    mean = units.difference(difference.mean, row.value)
    if difference.seeds < LEAST:
        return f"{mean} ({FEW_SEEDS[difference.seeds]})"
    if difference.low is None or difference.high is None:
        return f"{mean} (the same in all seeds)"
    low, high = (units.difference(end, row.value) for end in (difference.low, difference.high))
    return f"{mean} ({low} to {high})"


def image_difference_text(difference: ImageDifference | None, row: Row) -> str:
    """A difference over images as a cell: its mean, its interval, and p of McNemar's test if it applies."""
    if difference is None:
        return units.MISSING
    mean = units.difference(difference.mean, row.value)
    if difference.low is None or difference.high is None:
        return f"{mean} ({plural(difference.images, 'image')})"
    low, high = (units.difference(end, row.value) for end in (difference.low, difference.high))
    mcnemar = "" if difference.p is None else f"; p {difference.p:.3f}"
    return f"{mean} ({low} to {high}{mcnemar})"


def power(findings: Findings) -> str:
    """The smallest difference that the seeds would probably have shown; empty where nothing was tested."""
    tested = [difference for difference in findings.analysis.differences.values() if difference.p is not None]
    if not tested or findings.figure is None:
        return ""
    seeds, count = min(d.seeds for d in tested), tested[0].comparisons
    deviation = (sum((d.deviation or 0.0) ** 2 for d in tested) / len(tested)) ** 0.5
    smallest = units.digits(smallest_visible(seeds, count) * deviation)
    shown = f"{smallest} {units.points(findings.figure)}".rstrip()
    return (
        f"Networks are compared by {method(tested)} (Holm). With this spread, a true difference of "
        f"{shown} is found with a probability of {POWER:.0%}."
    ).replace("%.", " %.")


def spent(findings: Findings) -> str:
    """How many trainings there were, how long they took, and their price if that of an hour is known."""
    if not findings.budgets:
        return ""
    trainings = sum(budget.trainings for budget in findings.budgets.values())
    seconds = sum(budget.seconds for budget in findings.budgets.values())
    price = price_text(seconds, findings.price_per_hour, "; price ")
    return f"{plural(trainings, 'training')} took {clock(seconds)} (the times of all, added){price}."


def price_text(seconds: float, per_hour: float | None, before: str = "") -> str:
    """The price of a time, with a text before it; empty if the price of an hour is unknown."""
    return "" if per_hour is None else f"{before}{seconds / 3600 * per_hour:,.2f}"


def speedup_sentences(findings: Findings) -> list[str]:
    """Each pair of groups that can be compared, in words; from too few seeds with that remark."""
    if findings.figure is None:
        return []
    seeds = min(row.seeds for row in findings.rows)
    if seeds < LEAST:
        remarks = [f"; from {FEW_SEEDS[seeds]}, which tells nothing apart"] * len(findings.speedups)
    else:
        remarks = [_mean_interval(findings, pair) for pair in findings.speedups]
    pairs = zip(findings.speedups, remarks, strict=True)
    return [speedup_sentence(pair, findings.figure) + remark for pair, remark in pairs]


def _mean_interval(findings: Findings, speedup: Speedup) -> str:
    """The interval of the mean speed-up over draws of seeds, images and timings."""
    interval = findings.evidence.intervals.get((speedup.fast, speedup.slow))
    if interval is None:
        return "; under other seeds the two fronts may not overlap"
    low, high = map(units.digits, interval)
    return f"; the mean lies between {low}× and {high}× (95 %, over seeds, images and timings)"


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
