"""Rounding of scaled depths, widths, group widths and resolutions, and where the rounded values jump.

Ties are rounded to even. A rounding has two parts that must agree: a function, and a generator of the values
at which the function jumps, which `solve` uses. A test compares the two.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

WIDTH_STEP = 8
RESOLUTION_STEP = 4


class Rounding(NamedTuple):
    """A rounding function, and a function from a range to the jumps of the rounding in it."""

    depth: Callable[[float], int]
    depth_jumps: Callable[[float, float], Iterator[float]]
    width: Callable[[float], int]
    width_jumps: Callable[[float, float], Iterator[float]]


def to_multiple(value: float, step: int) -> int:
    """The nearest multiple of `step`, at least one step."""
    return max(1, round(value / step)) * step


def multiple_jumps(step: int, low: float, high: float) -> Iterator[float]:
    """Where `to_multiple` jumps between low and high."""
    for k in range(max(1, math.floor(low / step - 0.5)), math.ceil(high / step - 0.5) + 1):
        yield (k + 0.5) * step


def group_width(value: float) -> int:
    """1, 2, 4, then multiples of 8 (Fast and Accurate Model Scaling, the authors' code)."""
    whole = max(1, round(value))
    if whole <= 2:
        return whole
    return 4 if whole <= 5 else round(whole / 8) * 8


def group_width_jumps(low: float, high: float) -> Iterator[float]:
    """Where `group_width` jumps between low and high."""
    yield from (jump for jump in (1.5, 2.5, 5.5) if low <= jump <= high)
    for k in range(max(1, math.floor(low / 8) - 1), math.ceil(high / 8) + 1):
        # the value is first rounded to a whole number; ties between two multiples go to the even one
        yield 8 * k + 4 + (0.5 if k % 2 == 0 else -0.5)


def compatible(width: int, ratio: float, group: int) -> tuple[int, int]:
    """The nearest compatible width and group width: groups must divide the inner width.

    ratio: inner / outer width. The width changes by a third at most (Fast and Accurate Model Scaling,
    3.5; RegNet's code).
    """
    inner = int(max(1, width * ratio))
    group = min(group, inner)
    step = math.lcm(group, int(ratio)) if ratio > 1 else group
    inner = max(step, round(inner / step) * step)
    return int(inner / ratio), group


def _compound_width(value: float) -> int:
    nearest = max(8, int(value + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * value else nearest


def _compound_width_jumps(low: float, high: float) -> Iterator[float]:
    for k in range(max(1, math.floor(low / 8) - 1), math.ceil(high / 8) + 1):
        yield 8.0 * k + 4
        yield 8 * k / 0.9


def _whole_jumps(low: float, high: float) -> Iterator[float]:
    yield from (float(k) for k in range(max(1, math.floor(low)), math.ceil(high) + 1))


NEAREST = Rounding(
    depth=lambda value: to_multiple(value, 1),
    depth_jumps=lambda low, high: multiple_jumps(1, low, high),
    width=lambda value: to_multiple(value, WIDTH_STEP),
    width_jumps=lambda low, high: multiple_jumps(WIDTH_STEP, low, high),
)
"""Rounding of Fast and Accurate Model Scaling: to the nearest depth and the nearest multiple of 8."""

COMPOUND = Rounding(
    depth=lambda value: max(1, math.ceil(value)),
    depth_jumps=_whole_jumps,
    width=_compound_width,
    width_jumps=_compound_width_jumps,
)
"""Rounding of EfficientNet: depths up, widths to multiples of 8 without losing more than a tenth."""
