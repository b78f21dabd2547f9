"""What a study says, in words: no more than its seeds can tell."""

from collections.abc import Iterable

from rescale.duration import clock
from rescale.errors import first_few, plural
from rescale.figure import Figure
from rescale.report import units
from rescale.report.findings import Findings
from rescale.studies import Difference, Row, Speedup, best_first, smallest_visible
from rescale.studies.differences import LEAST, LEVEL, POWER
from rescale.studies.images import ImageDifference

_SEEDS = ("no common seed", "one seed", "two seeds")


def headline(findings: Findings) -> str:
    """The result in a sentence or two."""
    if not findings.rows:
        return "No network has finished training yet."
    if findings.plan.by_hand and findings.differences:
        return _row_by_row(findings)
    return " ".join(part for part in (_best(findings), _front(findings)) if part)


def _best(findings: Findings) -> str:
    """The best network, and from which others it is told apart."""
    best = findings.rows[0]
    compared = findings.differences
    which = "highest" if best.figure.higher_is_better else "lowest"
    text = f"The {which} {best.figure.label} is {_measured(best)}, by {best.label}"
    if not compared:
        return f"{text}."
    if all(difference.told_apart for difference in compared.values()):
        return f"{text}, which is told apart from every other network ({_method(compared.values())})."
    if few := _too_few(compared.values()):
        return f"{text}; by {few}, networks are not told apart.{_over_images(findings)}"
    if all(difference.p is None for difference in compared.values()):
        return f"{text}; all seeds differ alike, so networks are not told apart."
    close = [label for label, difference in compared.items() if not difference.told_apart]
    return f"{text}, which is not told apart from {first_few(close, 3)} ({_method(compared.values())})."


def _front(findings: Findings) -> str:
    """How many networks are on the front, and what its fast end costs."""
    on_front = [row for row in findings.rows if row.on_front]
    if not on_front:
        return ""
    best, fastest = best_first(findings.rows)[0], min(on_front, key=lambda row: row.latency_s or 0)
    verb = "is" if len(on_front) == 1 else "are"
    text = f"{len(on_front)} of {plural(len(findings.rows), 'network')} {verb} on the front"
    if fastest is not best and best.latency_s and fastest.latency_s:
        ratio = units.digits(best.latency_s / fastest.latency_s)
        text += f"; its fast end, {fastest.label}, is {ratio}× as fast at {_measured(fastest)}"
    return text + "."


def _row_by_row(findings: Findings) -> str:
    """Which rows of a plan by hand differ from the row above by more than chance."""
    compared = findings.differences
    if few := _too_few(compared.values()):
        return f"By {few}, no row is told apart from the row above.{_over_images(findings)}"
    if all(difference.p is None for difference in compared.values()):
        return "All seeds differ alike, so no row is told apart from the row above."
    method = _method(compared.values())
    apart = [row for row in findings.rows if row.label in compared and compared[row.label].told_apart]
    if not apart:
        return f"No row is told apart from the row above ({method})."
    named = ", ".join(f"{row.label} ({_by(compared[row.label], row)})" for row in apart)
    rest = len(compared) - len(apart)
    others = f" {rest} other row{'s are' if rest > 1 else ' is'} not." if rest else ""
    return f"Told apart from the row above: {named}; {method}.{others}"


def _over_images(findings: Findings) -> str:
    """What the held-out images say of the networks as they are trained here; empty without scores."""
    tested = [d for d in findings.evidence.differences.values() if d.low is not None and d.high is not None]
    if not tested:
        return ""
    apart = sum(d.low > 0 or d.high < 0 for d in tested)  # type: ignore[operator]
    differs = (
        f"{apart} of {plural(len(tested), 'row')} {'differs' if apart == 1 else 'differ'} from the row above"
        if findings.plan.by_hand
        else f"it differs from {apart} of {plural(len(tested), 'other')}"
    )
    chance = f"by more than the choice of the {plural(tested[0].images, 'image')} explains"
    return f" As trained here, {differs} {chance}."


def _too_few(compared: Iterable[Difference]) -> str:
    """In words, how many seeds there are, if no comparison has enough of them."""
    seeds = max(difference.seeds for difference in compared)
    return "" if seeds >= LEAST else _SEEDS[seeds]


def _method(compared: Iterable[Difference]) -> str:
    """How networks were compared: "paired t tests over 3 seeds, 5 % in all 4 comparisons"."""
    seeds = sorted({difference.seeds for difference in compared if difference.seeds >= LEAST})
    count = max(difference.comparisons for difference in compared)
    over = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    level = f"{LEVEL:.0%}".replace("%", " %")
    return f"paired t tests over {over} seeds, {level}" + (
        f" in all {count} comparisons" if count > 1 else ""
    )


def difference_text(difference: Difference | None, row: Row) -> str:
    """A difference as a cell: its mean, and its interval or why it has none."""
    if difference is None:
        return units.MISSING
    if difference.mean is None:
        return _SEEDS[0]
    mean = units.difference(difference.mean, row.value)
    if difference.seeds < LEAST:
        return f"{mean} ({_SEEDS[difference.seeds]})"
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
    tested = [difference for difference in findings.differences.values() if difference.p is not None]
    if not tested or findings.figure is None:
        return ""
    seeds, count = min(d.seeds for d in tested), tested[0].comparisons
    deviation = (sum((d.deviation or 0.0) ** 2 for d in tested) / len(tested)) ** 0.5
    smallest = units.digits(smallest_visible(seeds, count) * deviation)
    shown = f"{smallest} {units.points(findings.figure)}".rstrip()
    return (
        f"Networks are compared by {_method(tested)} (Holm). With this spread, a true difference of "
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
        remarks = [f"; from {_SEEDS[seeds]}, which tells nothing apart"] * len(findings.speedups)
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


def _by(difference: Difference, row: Row) -> str:
    return f"{units.difference(difference.mean or 0.0, row.value)} {units.points(row.figure)}".rstrip()


def _measured(row: Row) -> str:
    return units.with_unit(units.spread(row.value, row.value_std), row.figure)
