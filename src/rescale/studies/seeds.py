"""What the seeds of a plan will be able to show, before any of it runs."""

import itertools
import math
import statistics
from collections.abc import Mapping
from typing import Any

from rescale.errors import first_few
from rescale.studies.analysis import values_by_seed
from rescale.studies.differences import LEAST, POWER, smallest_visible
from rescale.studies.kinds import kind_of
from rescale.studies.plan import Item, Plan

ASSUMED = 0.5  # standard deviation over seeds of a difference of two networks, in the figure's unit


def outlook(plan: Plan, results: Mapping[Item, Mapping[str, Any]]) -> str:
    """The smallest difference that the plan's seeds can show, in a sentence; empty for a single network.

    results: the finished runs, whose spread is used; without any it is assumed, and the sentence says so.
    """
    networks = len(plan.labels)
    if networks < 2:
        return ""
    counts = {label: len(plan.of(label)) for label in plan.labels}
    enough = [count for count in counts.values() if count >= LEAST]
    if not enough:
        most = max(counts.values())
        equal = "" if set(counts.values()) == {most} else "at most "
        each = "one seed" if most == 1 else f"{most} seeds"
        return (
            f"{equal}{each} for each network: they will not be told apart; "
            f"that takes {LEAST} seeds, 5 are usual"
        )
    seeds = min(enough)
    comparisons = kind_of(plan).comparisons(networks)
    smallest = smallest_visible(seeds, comparisons)
    deviation = _deviation(results)
    known = ASSUMED if deviation is None else deviation
    source = "assumed" if deviation is None else "in the finished runs"
    chance = f"a probability of {100 * POWER:.0f} %"
    few = [label for label, count in counts.items() if count < LEAST]
    left = f"; fewer than {LEAST} seeds, so not told apart: {first_few(few)}" if few else ""
    return (
        f"{seeds} seeds find a difference of {smallest * known:.2g} with {chance}: {smallest:.1f} times its "
        f"standard deviation over seeds, {known:.2g} ({source}){left}"
    )


def _deviation(results: Mapping[Item, Mapping[str, Any]]) -> float | None:
    """The standard deviation over seeds of the difference of neighbours, pooled; None if unknown."""
    variances = []
    for a, b in itertools.pairwise(values_by_seed(results).values()):
        sample = [b[seed] - a[seed] for seed in a if seed in b]
        if len(sample) > 1:
            variances.append(statistics.variance(sample))
    return math.sqrt(statistics.fmean(variances)) or None if variances else None
