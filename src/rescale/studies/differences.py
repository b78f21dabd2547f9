"""Differences of networks over seeds: what a few seeds can tell apart. Pure functions."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LEVEL = 0.05  # of false differences, for all comparisons of a table together
POWER = 0.8
LEAST = 3  # seeds below which nothing is claimed
SIGN_FLIPS = 6  # seeds from which the sign-flip test can reach the level


class Difference(NamedTuple):
    """The difference of two networks' values, over the seeds that both have.

    Args:
        mean: in the figure's unit; None without a common seed.
        seeds: number of common seeds.
        low, high: the interval of the mean; None where nothing can be claimed.
        p: of the paired t test, adjusted by Holm's method; None where nothing can be claimed.
        sign_flip: p of the exact sign-flip test, not adjusted; None below `SIGN_FLIPS` seeds.
        deviation: standard deviation over seeds of the paired difference; None below two seeds.
        comparisons: the number of comparisons that the level is divided among.
    """

    mean: float | None
    seeds: int
    deviation: float | None = None
    comparisons: int = 1
    low: float | None = None
    high: float | None = None
    p: float | None = None
    sign_flip: float | None = None

    @property
    def told_apart(self) -> bool:
        """Whether the two networks differ by more than chance."""
        return self.p is not None and self.p <= LEVEL


def paired_differences(pairs: Sequence[tuple[Mapping[int, float], Mapping[int, float]]]) -> list[Difference]:
    """Compare networks in pairs: the second minus the first, by paired t tests with Holm's correction.

    An interval has the level `LEVEL` divided by the number of comparisons. Nothing is claimed with fewer than
    `LEAST` common seeds, or if all seeds differ by the same amount.

    Args:
        pairs: of each network the value of each seed.
    """
    samples = [[b[seed] - a[seed] for seed in a if seed in b] for a, b in pairs]
    tested = [i for i, sample in enumerate(samples) if len(sample) >= LEAST and _varies(sample)]
    adjusted = dict(zip(tested, holm([_t_test(samples[i]) for i in tested]), strict=True))
    return [_difference(sample, adjusted.get(i), max(1, len(tested))) for i, sample in enumerate(samples)]


def against_best(values: Sequence[Mapping[int, float]], best: int) -> list[Difference]:
    """The best network minus each of the others, in their order, corrected for all pairs.

    The best one is known only from the same values, so that any pair could have been the one to be compared.
    """
    others = [i for i in range(len(values)) if i != best]
    pairs = list(itertools.combinations(range(len(values)), 2))
    compared = paired_differences([(values[i], values[j]) for i, j in pairs])
    of_pair = dict(zip(pairs, compared, strict=True))
    return [of_pair[i, best] if i < best else _reversed(of_pair[best, i]) for i in others]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down method (Holm, 1979)."""
    count, least = len(p_values), 0.0
    adjusted = [0.0] * count
    for rank, i in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (count - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted


def smallest_visible(seeds: int, comparisons: int = 1) -> float:
    """The true difference that a paired t test finds with a probability of `POWER`, by so many seeds.

    Args:
        seeds: at least 2.
        comparisons: the level is `LEVEL` divided by their number.

    Returns:
        The difference in standard deviations of the paired differences.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    freedom = seeds - 1
    critical = t.isf(LEVEL / comparisons / 2, freedom)

    def lacking(difference: float) -> float:
        return float(nct.sf(critical, freedom, difference * math.sqrt(seeds))) - POWER

    return float(brentq(lacking, 0.0, 3 * critical + 10))


def _varies(sample: Sequence[float]) -> bool:
    """Whether values differ by more than rounding."""
    return max(sample) - min(sample) > 1e-9 * max(1.0, *map(abs, sample))


def _t_test(sample: Sequence[float]) -> float:
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(sample, 0.0).pvalue)


def _difference(sample: Sequence[float], p: float | None, comparisons: int) -> Difference:
    if not sample:
        return Difference(None, 0)
    mean = statistics.fmean(sample)
    deviation = statistics.stdev(sample) if len(sample) > 1 else None
    untested = Difference(mean, len(sample), deviation, comparisons)
    if p is None:
        return untested
    from scipy.stats import ttest_1samp

    low, high = ttest_1samp(sample, 0.0).confidence_interval(1 - LEVEL / comparisons)
    return untested._replace(low=float(low), high=float(high), p=p, sign_flip=_sign_flip(sample))


def _sign_flip(sample: Sequence[float]) -> float | None:
    """P of the sign-flip test: exact up to 13 seeds, by 9,999 random flips beyond."""
    if len(sample) < SIGN_FLIPS:
        return None
    import numpy as np
    from scipy.stats import permutation_test

    test = permutation_test((sample,), np.mean, permutation_type="samples", vectorized=True, rng=0)
    return float(test.pvalue)


def _reversed(difference: Difference) -> Difference:
    """The difference with the two networks exchanged."""
    mean, low, high = (None if x is None else -x for x in (difference.mean, difference.high, difference.low))
    return difference._replace(mean=mean, low=low, high=high)
