"""Scaling strategies as values: how a factor s is divided among depth, width and resolution."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rescale.errors import UserError, nearest

_DIMENSIONS = ("depth", "width", "resolution", "group")
LARGEST = 10  # exponent


@dataclass(frozen=True)
class Strategy:
    """Exponents of a scaling factor s that multiplies the multiply-adds (Fast and Accurate Model Scaling).

    Depth grows by s^depth, width by s^(width / 2), group width by s^(group / 2), resolution by
    s^(resolution / 2). group None: the width's. Depthwise convolutions stay depthwise in any case.
    rounding: nearest (that paper's) or compound (EfficientNet's own). Raises UserError for an exponent that
    is no number from -LARGEST to LARGEST.
    """

    name: str
    depth: float
    width: float
    resolution: float
    group: float | None = None
    rounding: Literal["nearest", "compound"] = "nearest"

    def __post_init__(self) -> None:
        exponents = {name: getattr(self, name) for name in _DIMENSIONS}
        wrong = [
            f"exponents: {name}={value:g} is not a number from -{LARGEST} to {LARGEST}"
            for name, value in exponents.items()
            if value is not None and not -LARGEST <= value <= LARGEST
        ]
        if wrong:
            raise UserError(*wrong)

    @property
    def total(self) -> float:
        """Sum of the exponents of depth, width and resolution: 1 if multiply-adds grow by s."""
        return self.depth + self.width + self.resolution

    @property
    def group_exponent(self) -> float:
        """The exponent of the group width."""
        return self.width if self.group is None else self.group


_STEP = math.log(1.2 * 1.1**2 * 1.15**2)  # EfficientNet's 1.2, 1.1, 1.15 for depth, width, resolution

STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy("d", 1, 0, 0),
        Strategy("w", 0, 1, 0),
        Strategy("r", 0, 0, 1),
        Strategy("dw", 1 / 2, 1 / 2, 0),
        Strategy("wr", 0, 1 / 2, 1 / 2),
        Strategy("dr", 1 / 2, 0, 1 / 2),
        Strategy("dwr", 1 / 3, 1 / 3, 1 / 3),
        Strategy("dWr", 0.1, 0.8, 0.1),
        Strategy(
            "compound",
            math.log(1.2) / _STEP,
            2 * math.log(1.1) / _STEP,
            2 * math.log(1.15) / _STEP,
            rounding="compound",
        ),
    )
}
"""By the papers' names; the group width grows with the width in all of them."""

_FAST = re.compile(r"fast(?P<alpha>\d*\.?\d+)?")


def fast(alpha: float) -> Strategy:
    """Fast compound scaling: the share alpha to the width, the rest equally to depth and resolution."""
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha {alpha:g}: between 0 (depth and resolution only) and 1 (width only)")
    return Strategy(f"fast{alpha:g}", (1 - alpha) / 2, alpha, (1 - alpha) / 2)


def check_alpha(alpha: float | None, strategy: str) -> None:
    """Raise UserError if there is an alpha and the strategy is not `fast`, which alone has one."""
    if alpha is not None and not _FAST.fullmatch(strategy):
        raise UserError(f"alpha belongs to the strategy fast, not to {strategy!r}")


def strategy_of(wanted: str | Mapping[str, float] | Strategy, alpha: float | None = None) -> Strategy:
    """A strategy by name (`dWr`; `fast`, with alpha; `fast0.8`), by the fast-scaling authors' type name
    (`d1_w8_g8_r1`, `wg`) or by its exponents ({"depth": .1, "width": .8, "resolution": .1}, and `group`).

    Their one-letter types without g, such as `dw`, are the paper's here, in which the groups grow with the
    width. Raises UserError for any other name, and for an alpha where there is nothing to choose.
    """
    if not isinstance(wanted, str):
        check_alpha(alpha, "exponents")
        return wanted if isinstance(wanted, Strategy) else _of_exponents(wanted)
    if match := _FAST.fullmatch(wanted):
        if alpha is not None and match["alpha"]:
            raise UserError(f"{wanted} has its alpha in its name; leave out alpha {alpha:g}")
        share = alpha if alpha is not None else match["alpha"]
        if share is None:
            raise UserError("the strategy fast needs its alpha (0.8 is dWr, 1/3 is dwr)")
        return fast(float(share))
    check_alpha(alpha, wanted)
    if wanted in STRATEGIES:
        return STRATEGIES[wanted]
    is_type = "_" in wanted or (set(wanted) <= set("dwgr") and "g" in wanted)
    if is_type and (typed := _of_type(wanted)):
        return typed
    raise UserError(f"no scaling strategy {wanted!r}; {_nearest(wanted)}")


def exponents_of(text: str) -> dict[str, float]:
    """Read `depth=.1,width=.8,resolution=.1[,group=.8]`."""
    exponents: dict[str, float] = {}
    wrong = []
    for part in text.split(","):
        key, _, value = part.strip().partition("=")
        if key in exponents:
            wrong.append(f"exponents: {key} is given twice")
        try:
            exponents[key] = float(value)
        except ValueError:
            wrong.append(f"exponents: {part.strip()!r} is not of the form depth=.1")
    if wrong:
        raise UserError(*wrong)
    return exponents


def _of_exponents(shares: Mapping[str, float]) -> Strategy:
    wrong = [
        f"exponents: no {key!r}; {nearest(key, _DIMENSIONS)}" for key in shares if key not in _DIMENSIONS
    ]
    wrong += [
        f"exponents: {key}={value} is not a number"
        for key, value in shares.items()
        if not isinstance(value, int | float)
    ]
    if wrong:
        raise UserError(*wrong)
    if not any(shares.values()):
        raise UserError("exponents: all are 0, so nothing would be scaled")
    depth, width, resolution = (float(shares.get(key, 0)) for key in _DIMENSIONS[:3])
    group = shares.get("group")
    return Strategy("custom", depth, width, resolution, None if group is None else float(group))


def _of_type(text: str) -> Strategy | None:
    """Read the authors' type name: dimensions with weights; their shares of the sum of d, w and r.

    Without these three, the group width is multiplied by the factor.
    """
    weights: dict[str, float] = {}
    for part in text.split("_") if "_" in text else text:
        match = re.fullmatch(r"([dwgr])(\d*\.?\d*)", part)
        if not match or match[1] in weights:
            return None
        weights[match[1]] = float(match[2] or 1)
    total = sum(weights.get(key, 0) for key in "dwr") or weights.get("g", 0) / 2
    if not total:
        return None
    depth, width, resolution, group = (weights.get(key, 0) / total for key in "dwrg")
    return Strategy(text, depth, width, resolution, None if group == width else group)


def _nearest(wanted: str) -> str:
    known = [*STRATEGIES, "fast", "rs", "rs-depth", "rs-width"]
    same_letters = [name for name in known if name.lower() == wanted.lower()]
    if same_letters:
        return "did you mean " + " or ".join(map(repr, same_letters)) + "?"
    return nearest(wanted, known, kind="strategies")
