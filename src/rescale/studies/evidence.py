"""How far a study's values can be trusted: its held-out images one by one, and its front under new draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rescale.bench.timing import Timing
from rescale.studies.analysis import Speedup
from rescale.studies.chances import Draws, Measured, draws, front_chances, speedup_interval
from rescale.studies.folder import StudyFolder
from rescale.studies.images import aligned, floor
from rescale.studies.plan import Item
from rescale.studies.rows import Row

Interval = tuple[float, float]


@dataclass(frozen=True)
class Evidence:
    """What the values alone do not say.

    Args:
        floors: by label, the spread over seeds that the number of images explains alone.
        chances: by label, the share of draws in which the network is on the front.
        intervals: of the mean speed-up, by the two groups of a `Speedup`.
        images: the number of images that all runs have; 0 if they have no scores in common.
        unscored: labels of networks with a run that has no scores.
    """

    floors: Mapping[str, float] = field(default_factory=dict)
    chances: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[tuple[str, str], Interval] = field(default_factory=dict)
    images: int = 0
    unscored: tuple[str, ...] = ()


def evidence_of(
    rows: Sequence[Row],
    timings: Mapping[str, Timing],
    values: Mapping[str, Mapping[int, float]],
    scores: Mapping[str, np.ndarray],
    speedups: Sequence[Speedup],
    unscored: tuple[str, ...] = (),
) -> Evidence:
    """Draw seeds, images and timings anew, and find what the number of images explains.

    Args:
        rows: the networks with a finished run.
        timings: by label.
        values: the headline figure's values of each seed, by label.
        scores: of `image_scores`.
        speedups: pairs of groups to give an interval for.
        unscored: of `image_scores`.
    """
    drawn, timed = _draws(rows, timings, values, scores)
    chances = dict(zip((row.label for row in timed), front_chances(drawn), strict=True)) if drawn else {}
    return Evidence(
        {label: spread for label, known in scores.items() if (spread := floor(known)) is not None},
        chances,
        _intervals(drawn, timed, speedups),
        min((known.shape[1] for known in scores.values()), default=0),
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
