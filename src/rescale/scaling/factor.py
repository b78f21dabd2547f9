"""Scale a network by a factor: the arithmetic and the rounding of Fast and Accurate Model Scaling."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from rescale.errors import UserError
from rescale.network import Network, Stage, checked
from rescale.rounding import (
    COMPOUND,
    NEAREST,
    RESOLUTION_STEP,
    Rounding,
    compatible,
    group_width,
    group_width_jumps,
    multiple_jumps,
    to_multiple,
)
from rescale.scaling.strategy import Strategy

Jumps = Callable[[float, float], Iterable[float]]
LEAST, MOST = 1e-6, 1e6  # range of factors
ROUNDINGS = {"nearest": NEAREST, "compound": COMPOUND}


def scaled(network: Network, strategy: Strategy, factor: float) -> Network:
    """The network at `factor` times its multiply-adds, up to rounding. factor: from LEAST to MOST.

    Rounded as in that paper's code, even if an exponent is 0 or the factor is 1. Stem and head are scaled if
    the network's `scale_ends` is set. Raises UserError if the result cannot be built.
    """
    check_factor(factor)
    result = rounded(network, strategy, factor)
    return checked(result, result.name)


def check_factor(factor: float) -> None:
    """Raise UserError for a factor outside the range that is searched."""
    if not LEAST <= factor <= MOST:
        raise UserError(f"a scaling factor is above 0, from {LEAST:g} to {MOST:g}; found {factor:g}")


def rounded(network: Network, strategy: Strategy, factor: float) -> Network:
    """Like `scaled`, without the check: the result may be impossible to build."""
    rounding = ROUNDINGS[strategy.rounding]
    wider = factor ** (strategy.width / 2)
    size = to_multiple(network.resolution * factor ** (strategy.resolution / 2), RESOLUTION_STEP)
    stem, head = network.stem, network.head
    if network.scale_ends:
        convs = tuple(replace(conv, width=rounding.width(conv.width * wider)) for conv in stem.convs)
        stem = replace(stem, convs=convs)
        head = replace(head, width=rounding.width(head.width * wider) if head.width else 0)
    return replace(
        network,
        name=f"{network.name}-{strategy.name}-{_shortest(factor)}",
        input=replace(network.input, resolution=size),
        stem=stem,
        stages=tuple(_stage(stage, strategy, factor, rounding) for stage in network.stages),
        head=head,
    )


def _stage(stage: Stage, strategy: Strategy, factor: float, rounding: Rounding) -> Stage:
    depth = rounding.depth(stage.depth * factor**strategy.depth)
    width = rounding.width(stage.width * factor ** (strategy.width / 2))
    if stage.inner_of == "input":
        # the inner width is another stage's; groups other than 1 and all are only scaled and checked
        group = stage.group_width
        if group is not None and scales_groups(stage):
            group = group_width(group * factor ** (strategy.group_exponent / 2))
        return replace(stage, depth=depth, width=width, group_width=group)
    if stage.block == "basic":  # it has no groups
        return replace(stage, depth=depth, width=width)
    group = stage.group_width or stage.inner(stage.width)
    if scales_groups(stage):
        group = group_width(group * factor ** (strategy.group_exponent / 2))
    width, group = compatible(width, stage.bottleneck, group)
    full = group == int(width * stage.bottleneck)
    return replace(stage, depth=depth, width=width, group_width=None if full else group)


def scales_groups(stage: Stage) -> bool:
    """Whether the group width is scaled. Depthwise convolutions stay depthwise, basic blocks have none."""
    return stage.group_width != 1 and stage.block != "basic"


def jumps(network: Network, strategy: Strategy, low: float, high: float) -> list[float]:
    """All factors from low to high at which `scaled` may change to another network, in increasing order."""
    rounding = ROUNDINGS[strategy.rounding]
    factors: set[float] = set()

    def add(value: float, exponent: float, between: Jumps) -> None:
        if not exponent:
            return
        ends = sorted((value * low**exponent, value * high**exponent))
        for jump in between(*ends):
            if math.log(jump / value) / exponent <= math.log(high):  # the power of a small exponent overflows
                factors.add((jump / value) ** (1 / exponent))

    for depth in {stage.depth for stage in network.stages}:
        add(depth, strategy.depth, rounding.depth_jumps)
    widths = {stage.width for stage in network.stages}
    if network.scale_ends:
        widths |= {conv.width for conv in network.stem.convs}
        widths |= {network.head.width} - {0}
    for width in widths:
        add(width, strategy.width / 2, rounding.width_jumps)
    # a group wider than the inner width is cut to it, so larger values change nothing
    widest = max(rounding.width(max(widths) * end ** (strategy.width / 2)) for end in (low, high))
    most = widest * max(stage.bottleneck for stage in network.stages)
    for group in {s.group_width or s.inner(s.width) for s in network.stages if scales_groups(s)}:
        add(group, strategy.group_exponent / 2, lambda start, end: group_width_jumps(start, min(end, most)))
    add(
        network.resolution,
        strategy.resolution / 2,
        lambda start, end: multiple_jumps(RESOLUTION_STEP, start, end),
    )
    return sorted(factor for factor in factors if low <= factor <= high)


def _shortest(factor: float) -> str:
    """The factor without superfluous digits: 4, not 4.0."""
    return str(int(factor)) if factor == int(factor) else repr(float(factor))
