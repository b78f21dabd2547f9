"""How far a study's values can be trusted: its held-out images one by one, and its front under new draws."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rescale.bench.timing import Timing
from rescale.studies import Row, Speedup, StudyFolder
from rescale.studies.chances import Draws, Measured, draws, front_chances, speedup_interval
from rescale.studies.images import ImageDifference, aligned, floor, over_images
from rescale.studies.plan import Item

Interval = tuple[float, float]


@dataclass(frozen=True)
class Evidence:
    """What the rows alone do not say.

    Args:
        differences: over images, by label: each row minus the one above it, or the best row minus each other.
        floors: by label, the spread over seeds that the number of images explains alone.
        chances: by label, the share of draws in which the network is on the front.
        intervals: of the mean speed-up, by the two groups of a `Speedup`.
        images: the number of images that all runs have; 0 if they have no scores in common.
        unscored: labels of networks with a run that has no scores.
    """

    differences: Mapping[str, ImageDifference] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    chances: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[tuple[str, str], Interval] = field(default_factory=dict)
    images: int = 0
    unscored: tuple[str, ...] = ()


def evidence_of(
    study: StudyFolder,
    items: Sequence[Item],
    rows: Sequence[Row],
    timings: Mapping[str, Timing],
    values: Mapping[str, Mapping[int, float]],
    speedups: Sequence[Speedup],
) -> Evidence:
    """Compare the networks over images, and draw seeds, images and timings anew.

    Args:
        study: the folder, whose predictions are read.
        items: the finished runs.
        rows: in the plan's order if a person wrote it, otherwise the best first.
        timings: by label.
        values: the headline figure's values of each seed, by label.
        speedups: pairs of groups to give an interval for.
    """
    by_label, unscored = image_scores(study, items)
    scored = {row.label: by_label[row.label] for row in rows if row.label in by_label}
    drawn, timed = _draws(rows, timings, values, scored)
    chances = dict(zip((row.label for row in timed), front_chances(drawn), strict=True)) if drawn else {}
    return Evidence(
        _differences(rows, scored, by_hand=study.plan.by_hand),
        {label: spread for label, scores in scored.items() if (spread := floor(scores)) is not None},
        chances,
        _intervals(drawn, timed, speedups),
        min((scores.shape[1] for scores in scored.values()), default=0),
        unscored,
    )


def image_scores(study: StudyFolder, items: Sequence[Item]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Scores [seeds, images] of each network, by label, of the images that all have; and who has none."""
    runs = [(item.label, study.scores(item)) for item in items]
    unscored = tuple(dict.fromkeys(label for label, scores in runs if scores is None))
    usable = [(label, scores) for label, scores in runs if scores is not None and label not in unscored]
    if not usable:
        return {}, unscored
    keys, matrix = aligned([scores for _, scores in usable])
    if not keys:
        return {}, unscored
    labels = np.array([label for label, _ in usable])
    return {label: matrix[labels == label] for label in dict.fromkeys(labels.tolist())}, unscored


def _differences(
    rows: Sequence[Row], scored: Mapping[str, np.ndarray], *, by_hand: bool
) -> dict[str, ImageDifference]:
    """By label: a row minus the one above it, or the best row minus each other one.

    The best one is known only from the same values, so the level is then divided among all pairs.
    """
    count = len(rows)
    comparisons = max(1, count - 1 if by_hand else count * (count - 1) // 2)
    differences = {}
    for above, row in itertools.pairwise(rows):
        first, second = (above, row) if by_hand else (row, rows[0])
        if first.label in scored and second.label in scored:
            differences[row.label] = over_images(scored[first.label], scored[second.label], comparisons)
    return differences


def _draws(
    rows: Sequence[Row],
    timings: Mapping[str, Timing],
    values: Mapping[str, Mapping[int, float]],
    scored: Mapping[str, np.ndarray],
) -> tuple[Draws | None, list[Row]]:
    """Draws of the networks that are timed, and those networks."""
    timed = [row for row in rows if row.label in timings]
    if not timed:
        return None, []
    numbers = {id(timing): i for i, timing in reversed(list(enumerate(timings[r.label] for r in timed)))}
    measured = [
        Measured(
            tuple(row.figure.oriented(value) for value in values[row.label].values()),
            timing.latency_s,
            timing.quartiles_s,
            max(1, int(timing.settings.get("repeats") or 1)),
            numbers[id(timing)],
        )
        for row in timed
        for timing in [timings[row.label]]
    ]
    means = None
    if all(row.label in scored for row in timed):
        sign = timed[0].figure.oriented(1.0)
        means = sign * np.stack([scored[row.label].mean(axis=0) for row in timed])
    return draws(measured, means), timed


def _intervals(
    drawn: Draws | None, timed: Sequence[Row], speedups: Sequence[Speedup]
) -> dict[tuple[str, str], Interval]:
    if drawn is None:
        return {}
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(timed):
        groups.setdefault(row.group, []).append(i)
    pairs = [(speedup.fast, speedup.slow) for speedup in speedups]
    intervals = {(a, b): speedup_interval(drawn, groups[a], groups[b]) for a, b in pairs}
    return {pair: interval for pair, interval in intervals.items() if interval}
