"""Find the factor whose real, rounded network comes closest to a budget."""

import math
from collections.abc import Callable
from typing import NamedTuple

from rescale.errors import UserError
from rescale.network import Network, oversized, problems, stride
from rescale.scaling.factor import LEAST, MOST, jumps, rounded
from rescale.scaling.strategy import Strategy

Measure = Callable[[Network], float]


class Solved(NamedTuple):
    """A solution. interval: every factor in it gives this network; `factor` is its geometric middle.

    reachable: False if even the smallest or the largest factor stays on one side of the target.
    """

    network: Network
    factor: float
    interval: tuple[float, float]
    wanted: float
    reached: float
    reachable: bool


def solve(network: Network, strategy: Strategy, measure: Measure, target: float) -> Solved:
    """The network closest to `target` among all scaled versions of this one.

    Cost does not always rise with the factor, because widths are rounded to groups, so bisection would not
    work. Between the factors where the measure is a quarter and four times the target (further than rounding
    can move it), every interval between two jumps of the rounding is tried, and every jump itself, where
    rounding half to even can give a network that exists only there. Of two equally close networks the one
    with the smaller factor is returned.
    """

    def at(factor: float) -> float:
        return measure(rounded(network, strategy, factor))

    ends: list[Callable[[float], bool]] = [lambda value: value < target / 4, lambda value: value > target * 4]
    if at(0.5) > at(2.0):  # exponents below zero
        ends.reverse()
    low, high = (_reach(network, strategy, measure, *end) for end in zip(ends, (0.5, 2.0), strict=True))
    at_low, at_high = at(low), at(high)
    if max(at_low, at_high) < target:  # out of reach: only the larger end matters
        low, high = (high / 1.01, high) if at_high >= at_low else (low, low * 1.01)
    points = [low, *jumps(network, strategy, low, high), high]
    least, tried = stride(network), []
    for i, point in enumerate(points):
        tried.append((point, (point, point)))
        if i + 1 < len(points) and points[i + 1] > point:
            tried.append((math.sqrt(point * points[i + 1]), (point, points[i + 1])))
    made = [rounded(network, strategy, factor) for factor, _ in tried]
    values = [math.inf if n.resolution < least or oversized(n) else measure(n) for n in made]
    order = sorted(range(len(tried)), key=lambda i: abs(values[i] - target))
    best = next((i for i in order if not problems(made[i])), None)
    if best is None:
        raise UserError(f"{network.name}: {strategy.name} makes no network of it; {problems(made[0])[0]}")
    start, end = best, best
    while start and _same(made[start - 1], made[best]):
        start -= 1
    while end + 1 < len(made) and _same(made[end + 1], made[best]):
        end += 1
    interval = tried[start][1][0], tried[end][1][1]
    factor = _plain(network, strategy, interval, made[best])
    reached = [value for value in values if value < math.inf]
    return Solved(
        rounded(network, strategy, factor),
        factor,
        interval,
        target,
        values[best],
        min(reached) <= target <= max(reached),
    )


def _reach(
    network: Network, strategy: Strategy, measure: Measure, enough: Callable[[float], bool], step: float
) -> float:
    """The first of 1, step, step^2, ... whose network is far enough beyond the target, or too small.

    If a network is too large before that, the last factor whose network is not.
    """
    factor = 1.0
    while LEAST < factor < MOST:
        previous, factor = factor, min(max(factor * step, LEAST), MOST)
        tried = rounded(network, strategy, factor)
        if oversized(tried):
            return _last_possible(network, strategy, previous, factor)
        if tried.resolution < stride(network) or enough(measure(tried)):
            break
    return factor


def _last_possible(network: Network, strategy: Strategy, possible: float, oversize: float) -> float:
    """The last factor from `possible` towards `oversize` whose network is not too large, to six digits."""
    while abs(math.log(oversize / possible)) > 1e-6:
        middle = math.sqrt(possible * oversize)
        if oversized(rounded(network, strategy, middle)):
            oversize = middle
        else:
            possible = middle
    return possible


def _plain(network: Network, strategy: Strategy, interval: tuple[float, float], wanted: Network) -> float:
    """The interval's geometric middle, with as few digits as give the same network."""
    middle = math.sqrt(interval[0] * interval[1])
    for digits in range(4, 17):
        factor = float(f"{middle:.{digits}g}")
        if _same(rounded(network, strategy, factor), wanted):
            return factor
    return middle


def _same(one: Network, other: Network) -> bool:
    """Whether two networks made of one differ in nothing but their names."""
    return (one.stages, one.input, one.stem, one.head) == (
        other.stages,
        other.input,
        other.stem,
        other.head,
    )
