"""Analyses of a study: means over seeds, Pareto fronts, speed-up at equal quality. Pure functions."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from rescale.bench.timing import Timing
from rescale.errors import UserError
from rescale.figure import Figure
from rescale.studies.plan import Item
from rescale.studies.rows import Row


class Point(NamedTuple):
    """A network as a point: seconds (or another measure of which less is better) and quality.

    quality: the headline figure's value, oriented so that more is better (`Figure.oriented`).
    """

    latency: float
    quality: float


class Speedup(NamedTuple):
    """How many times as fast `fast` is as `slow` at equal quality, over the qualities both fronts reach.

    low, high: the smallest and largest ratio; low_at, high_at: the qualities where they occur.
    worst, best: the range of qualities compared. All qualities are oriented so that more is better.
    """

    fast: str
    slow: str
    low: float
    low_at: float
    high: float
    high_at: float
    worst: float
    best: float


def aggregate(results: Mapping[Item, Mapping[str, Any]], timings: Mapping[str, Timing]) -> list[Row]:
    """One row for each network that has a finished run, in the plan's order, the front marked.

    results: in format 2. timings: by label. Raises UserError if the headline figures differ.
    """
    figure = headline_figure(results)
    if figure is None:
        return []
    by_label: dict[str, list[tuple[Item, Mapping[str, Any]]]] = {}
    for item, result in results.items():
        by_label.setdefault(item.label, []).append((item, result))
    rows = [_row(figure, label, runs, timings.get(label)) for label, runs in by_label.items()]
    timed = [row for row in rows if row.latency_s is not None]
    on_front = {timed[i].label for i in front([point(row) for row in timed])}
    return [replace(row, on_front=row.label in on_front) for row in rows]


def values_by_seed(results: Mapping[Item, Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    """The headline figure's value of each seed, by label."""
    values: dict[str, dict[int, float]] = {}
    for item, result in results.items():
        values.setdefault(item.label, {})[item.seed] = float(result["figures"][result["headline"]["name"]])
    return values


def headline_figure(results: Mapping[Item, Mapping[str, Any]]) -> Figure | None:
    """The headline figure of all results, None without any. Raises UserError if they differ."""
    return common_figure({item: Figure(**result["headline"]) for item, result in results.items()})


def common_figure(figures: Mapping[Item, Figure]) -> Figure | None:
    """The one figure by which all runs are judged, None without runs. Raises UserError if they differ."""
    first_with: dict[Figure, Item] = {}
    for item, figure in figures.items():
        first_with.setdefault(figure, item)
    if len(first_with) > 1:
        (a, run_a), (b, run_b) = list(first_with.items())[:2]
        raise UserError(
            f"{run_a.name} is judged by {_described(a)}, {run_b.name} by {_described(b)}: "
            "values of different figures cannot be compared; make a study for each figure"
        )
    return next(iter(first_with), None)


def _described(figure: Figure) -> str:
    unit = f" in {figure.unit}" if figure.unit else ""
    return f"{figure.label}{unit} ({'higher' if figure.higher_is_better else 'lower'} is better)"


def _row(
    figure: Figure, label: str, runs: Sequence[tuple[Item, Mapping[str, Any]]], timing: Timing | None
) -> Row:
    item, first = runs[0]
    values = [float(result["figures"][figure.name]) for _, result in runs]
    row = Row(
        label=label,
        group=item.group,
        model=item.model,
        recipe=item.recipe,
        changes=" ".join(item.changes),
        resolution=first["resolution"],
        seeds=len(runs),
        figure=figure,
        value=statistics.fmean(values),
        value_std=statistics.stdev(values) if len(values) > 1 else None,
        value_lowest=min(values),
        value_highest=max(values),
        val_images=first["val_images"],
        epochs=first["epochs"],
        train_seconds=statistics.fmean(result["seconds"] for _, result in runs),
        macs=first["macs"],
        params=first["params"],
        activations=first["activations"],
        counted=first.get("counted"),
        figures=_other_means([result["figures"] for _, result in runs], figure),
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


def _other_means(evaluations: Sequence[Mapping[str, float]], headline: Figure) -> dict[str, float]:
    """Means over the seeds of every figure but the headline; `images` is a count and no figure."""
    names = dict.fromkeys(name for figures in evaluations for name in figures)
    return {
        name: statistics.fmean(figures[name] for figures in evaluations if name in figures)
        for name in names
        if name not in (headline.name, "images")
    }


def best_first(rows: Sequence[Row]) -> list[Row]:
    """The rows from the best value to the worst."""
    return sorted(rows, key=lambda row: -row.quality)


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other dominates, fastest first.

    A point dominates another if it is at least as fast and at least as good, and better in one of them.
    Equal points are all kept.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i].latency, -points[i].quality))
    kept: list[int] = []
    for i in order:
        best = points[kept[-1]] if kept else None
        if best is None or points[i].quality > best.quality or points[i] == best:
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
    """The row as a point of quality and a measure, which must be known."""
    return Point(float(getattr(row, measure)), row.quality)


def latency_at(line: Sequence[Point], quality: float) -> float:
    """Seconds at which a front reaches a quality; log(latency) is linear between its points.

    line: a front of at least one point, by rising quality; `quality` lies between its ends.
    """
    for left, right in itertools.pairwise(line):
        if left.quality <= quality <= right.quality and left.quality < right.quality:
            share = (quality - left.quality) / (right.quality - left.quality)
            return math.exp((1 - share) * math.log(left.latency) + share * math.log(right.latency))
    return min(line, key=lambda p: abs(p.quality - quality)).latency


def speedup(a: str, line_a: Sequence[Point], b: str, line_b: Sequence[Point]) -> Speedup | None:
    """Compare two fronts at equal quality; None if their qualities do not overlap.

    The ratio's logarithm is piecewise linear, so its extremes lie at the points of either front or the
    ends of the overlap, and are exact. `fast` is the one that is faster in the (geometric) mean.
    """
    places, ratios = _ratios(line_a, line_b)
    if not places:
        return None
    fast, slow = a, b
    if _mean_log(places, ratios) < 0:
        fast, slow, ratios = b, a, [1 / ratio for ratio in ratios]
    least, most = ratios.index(min(ratios)), ratios.index(max(ratios))
    return Speedup(
        fast, slow, ratios[least], places[least], ratios[most], places[most], places[0], places[-1]
    )


def mean_speedup(line_a: Sequence[Point], line_b: Sequence[Point]) -> float | None:
    """How many times as fast the first front is at equal quality, in the geometric mean over the overlap."""
    places, ratios = _ratios(line_a, line_b)
    return math.exp(_mean_log(places, ratios)) if places else None


def _ratios(line_a: Sequence[Point], line_b: Sequence[Point]) -> tuple[list[float], list[float]]:
    """The qualities of both fronts' points in their overlap and its ends, and b's seconds over a's there."""
    worst = max(line_a[0].quality, line_b[0].quality)
    best = min(line_a[-1].quality, line_b[-1].quality)
    if worst > best:
        return [], []
    inside = {p.quality for p in (*line_a, *line_b) if worst <= p.quality <= best}
    places = sorted(inside | {worst, best})
    return places, [latency_at(line_b, place) / latency_at(line_a, place) for place in places]


def _mean_log(places: Sequence[float], ratios: Sequence[float]) -> float:
    """Mean of log(ratio) over the range of qualities; at a single quality, its value."""
    logs = [math.log(ratio) for ratio in ratios]
    if len(places) == 1:
        return logs[0]
    area = sum(
        (right - left) * (logs[i] + logs[i + 1]) / 2
        for i, (left, right) in enumerate(itertools.pairwise(places))
    )
    return area / (places[-1] - places[0])


def speedups(rows: Sequence[Row]) -> list[Speedup]:
    """Speed-ups of all pairs of groups whose fronts overlap in quality."""
    lines = [(group, [point(row) for row in own]) for group, own in fronts(rows).items()]
    pairs = (speedup(*a, *b) for a, b in itertools.combinations(lines, 2))
    return [pair for pair in pairs if pair]
