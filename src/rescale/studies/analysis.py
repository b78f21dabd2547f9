"""What a study says: means over seeds, Pareto fronts, speed-up at equal accuracy. Pure functions."""

import csv
import io
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, get_type_hints

from rescale.bench.timing import Timing
from rescale.studies.plan import Item


@dataclass(frozen=True)
class Row:
    """One network of a study: what it reached, what it took, what it costs; None where it is not known.

    top1: mean over `seeds` runs in percent; top1_std: their standard deviation (n - 1), None for one seed.
    latency_s: for `batch` images, quartiles beside it. macs, params, activations: of one image.
    on_front: no other network of the study is both faster and as accurate.
    """

    label: str
    group: str
    model: str
    recipe: str
    resolution: int
    seeds: int
    top1: float
    top1_std: float | None
    top1_lowest: float
    top1_highest: float
    top5: float | None
    val_images: int
    epochs: float
    train_seconds: float
    macs: int
    params: int
    activations: int
    mode: str | None = None
    batch: int | None = None
    batch_fitted: int | None = None
    latency_s: float | None = None
    latency_q1_s: float | None = None
    latency_q3_s: float | None = None
    images_per_s: float | None = None
    memory_bytes: int | None = None
    precision: str | None = None
    threads: int | None = None
    device: str | None = None
    on_front: bool = False


class Point(NamedTuple):
    """A network in the plane: seconds (or another measure of which less is better) and percent."""

    latency: float
    accuracy: float


class Speedup(NamedTuple):
    """How many times as fast `fast` is as `slow` at equal accuracy, over the accuracies both fronts reach.

    low, high: the least and the greatest ratio; each with the accuracy (percent) where it is met.
    from_accuracy, to_accuracy: the range compared.
    """

    fast: str
    slow: str
    low: float
    low_at: float
    high: float
    high_at: float
    from_accuracy: float
    to_accuracy: float


def aggregate(results: Mapping[Item, Mapping[str, Any]], timings: Mapping[str, Timing]) -> list[Row]:
    """One row a network that has at least one finished run, in the plan's order, the front marked."""
    by_label: dict[str, list[tuple[Item, Mapping[str, Any]]]] = {}
    for item, result in results.items():
        by_label.setdefault(item.label, []).append((item, result))
    rows = [_row(label, runs, timings.get(label)) for label, runs in by_label.items()]
    best = front([Point(row.latency_s or math.inf, row.top1) for row in rows])
    return [replace(row, on_front=i in best and row.latency_s is not None) for i, row in enumerate(rows)]


def _row(label: str, runs: Sequence[tuple[Item, Mapping[str, Any]]], timing: Timing | None) -> Row:
    item, first = runs[0]
    top1 = [float(result["top1"]) for _, result in runs]
    top5 = [result["top5"] for _, result in runs if result.get("top5") is not None]
    row = Row(
        label=label,
        group=item.group,
        model=item.model,
        recipe=item.recipe,
        resolution=first["resolution"],
        seeds=len(runs),
        top1=statistics.fmean(top1),
        top1_std=statistics.stdev(top1) if len(top1) > 1 else None,
        top1_lowest=min(top1),
        top1_highest=max(top1),
        top5=statistics.fmean(top5) if top5 else None,
        val_images=first["val_images"],
        epochs=first["epochs"],
        train_seconds=statistics.fmean(result["seconds"] for _, result in runs),
        macs=first["macs"],
        params=first["params"],
        activations=first["activations"],
    )
    if timing is None:
        return row
    return replace(
        row,
        mode=timing.mode,
        batch=timing.batch,
        batch_fitted=timing.batch_fitted,
        latency_s=timing.latency_s,
        latency_q1_s=timing.quartiles_s[0],
        latency_q3_s=timing.quartiles_s[1],
        images_per_s=timing.images_per_s,
        memory_bytes=timing.memory_bytes,
        precision=timing.precision,
        threads=timing.settings.get("threads"),
        device=timing.settings.get("device"),
    )


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other dominates, fastest first.

    A point dominates another if it is at least as fast and at least as accurate, and better in one of
    them. Of equal points all stay.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i].latency, -points[i].accuracy))
    kept: list[int] = []
    for i in order:
        best = points[kept[-1]] if kept else None
        if best is None or points[i].accuracy > best.accuracy or points[i] == best:
            kept.append(i)
    return kept


def fronts(rows: Sequence[Row], measure: str = "latency_s") -> dict[str, list[Row]]:
    """The front of each group among the rows whose measure is known, cheapest first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if getattr(row, measure) is not None:
            groups.setdefault(row.group, []).append(row)
    return {
        group: [own[i] for i in front([point(row, measure) for row in own])] for group, own in groups.items()
    }


def point(row: Row, measure: str = "latency_s") -> Point:
    """Where a row stands in the plane of a measure that is known of it, and accuracy."""
    return Point(float(getattr(row, measure)), row.top1)


def latency_at(line: Sequence[Point], accuracy: float) -> float:
    """Seconds that a front takes to an accuracy, between its points linear in log(latency) over accuracy.

    line: a front of at least one point, by rising accuracy; `accuracy` lies between its ends.
    """
    for left, right in itertools.pairwise(line):
        if left.accuracy <= accuracy <= right.accuracy and left.accuracy < right.accuracy:
            share = (accuracy - left.accuracy) / (right.accuracy - left.accuracy)
            return math.exp((1 - share) * math.log(left.latency) + share * math.log(right.latency))
    return min(line, key=lambda p: abs(p.accuracy - accuracy)).latency


def speedup(a: str, line_a: Sequence[Point], b: str, line_b: Sequence[Point]) -> Speedup | None:
    """Compare two fronts at equal accuracy; None where their accuracies do not overlap.

    The ratio's logarithm is piecewise linear, so its extremes lie at the points of either front or the
    ends of the overlap, and are exact. `fast` is the one that is faster in the (geometric) mean.
    """
    low = max(line_a[0].accuracy, line_b[0].accuracy)
    high = min(line_a[-1].accuracy, line_b[-1].accuracy)
    if low > high:
        return None
    inside = {p.accuracy for p in (*line_a, *line_b) if low <= p.accuracy <= high}
    places = sorted(inside | {low, high})
    ratios = [latency_at(line_b, place) / latency_at(line_a, place) for place in places]
    fast, slow = a, b
    if _mean_log(places, ratios) < 0:
        fast, slow, ratios = b, a, [1 / ratio for ratio in ratios]
    least, most = ratios.index(min(ratios)), ratios.index(max(ratios))
    return Speedup(fast, slow, ratios[least], places[least], ratios[most], places[most], low, high)


def _mean_log(places: Sequence[float], ratios: Sequence[float]) -> float:
    """Mean of log(ratio) over the range of accuracies; at a single accuracy, its value."""
    logs = [math.log(ratio) for ratio in ratios]
    if len(places) == 1:
        return logs[0]
    return sum(
        (right - left) * (logs[i] + logs[i + 1]) / 2
        for i, (left, right) in enumerate(itertools.pairwise(places))
    )


def speedups(rows: Sequence[Row]) -> list[Speedup]:
    """Every pair of groups whose fronts reach a common accuracy."""
    lines = [(group, [point(row) for row in own]) for group, own in fronts(rows).items()]
    return [
        found
        for i, (a, line_a) in enumerate(lines)
        for b, line_b in lines[i + 1 :]
        if (found := speedup(a, line_a, b, line_b))
    ]


def to_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV, one column a field; unknown values are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [item.name for item in fields(Row)]
    writer.writerow(names)
    writer.writerows([["" if (v := getattr(row, name)) is None else v for name in names] for row in rows])
    return text.getvalue()


def from_csv(text: str) -> list[Row]:
    """Read what `to_csv` wrote, equal to the last digit."""
    hints = get_type_hints(Row)
    return [
        Row(**{name: _value(word, hints[name]) for name, word in line.items()})
        for line in csv.DictReader(io.StringIO(text))
    ]


def _value(word: str, hint: Any) -> Any:
    kinds = getattr(hint, "__args__", (hint,))
    if word == "" and type(None) in kinds:
        return None
    return word == "True" if bool in kinds else kinds[0](word)
