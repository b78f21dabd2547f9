"""The two scaling rules of ResNet-RS: depth or width by training regime, and resolution slowly."""

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from rescale.errors import UserError
from rescale.network import Conv, Network, Stage, Stem
from rescale.scaling.solve import Measure, Solved

BLOCKS = {
    26: (2, 2, 2, 2),  # tensorflow/tpu, detection's ResNet
    50: (3, 4, 6, 3),  # 50 to 152: He et al. 2015, Table 1
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),  # He et al. 2016
    270: (4, 29, 53, 4),  # from here: ResNet-RS, Table 11 and Appendix E
    300: (4, 36, 54, 4),
    350: (4, 36, 72, 4),
    400: (6, 48, 72, 6),
    420: (4, 44, 87, 4),
}

# FLOPs (2 x multiply-adds, in billions) and resolution of ResNet-RS's Pareto table
PARETO = (
    (4.6, 160), (8.4, 160), (12, 192), (18, 192), (24, 224), (31, 256),
    (40, 256), (54, 256), (69, 256), (107, 320), (128, 320),
)  # fmt: skip
RESOLUTION_STEP = 32
WIDTH_PARTS = 512  # a width multiplier is a number of these parts of 1: the least that changes some layer
LARGEST_DEPTH = 5000


def blocks_of(depth: int) -> tuple[int, ...]:
    """Block counts of a ResNet by its depth in layers: the listed ones exactly, others between them.

    Between two listed depths each count is interpolated and rounded half to even, beyond 420 the counts
    keep 420's proportions (this project's rule; the paper says only that c3 and c4 grow). depth >= 26.
    """
    if depth in BLOCKS:
        return BLOCKS[depth]
    if depth < min(BLOCKS):
        raise UserError(f"depth {depth}: the shallowest ResNet of bottlenecks has {min(BLOCKS)} layers")
    if depth > max(BLOCKS):
        return tuple(round(count * depth / max(BLOCKS)) for count in BLOCKS[max(BLOCKS)])
    low, high = next((a, b) for a, b in pairwise(BLOCKS) if a < depth < b)
    share = (depth - low) / (high - low)
    return tuple(round(a + (b - a) * share) for a, b in zip(BLOCKS[low], BLOCKS[high], strict=True))


def slow_resolution(flops: float) -> int:
    """Resolution in pixels for a network of this many FLOPs (2 x multiply-adds, absolute).

    ResNet-RS 6.2 gives no formula: its Pareto table's resolutions against log2(FLOPs), linear between the
    rows, rounded to multiples of 32, 160 below and 320 above (this project's rule).
    """
    billions = flops / 1e9
    if billions <= PARETO[0][0]:
        return PARETO[0][1]
    for (low, at_low), (high, at_high) in pairwise(PARETO):
        if billions <= high:
            share = math.log2(billions / low) / math.log2(high / low)
            return round((at_low + (at_high - at_low) * share) / RESOLUTION_STEP) * RESOLUTION_STEP
    return PARETO[-1][1]


def rule_for(epochs: int) -> str:
    """`rs-depth` in long regimes, `rs-width` in short ones (ResNet-RS 6.1); between them it is measured."""
    if epochs >= 350:
        return "rs-depth"
    if epochs <= 10:
        return "rs-width"
    raise UserError(
        f"for {epochs} epochs the paper gives no rule: depth wins at 350, width at 10. "
        "Scale by rs-depth and by rs-width and compare both in a study"
    )


def solve_rs(network: Network, rule: str, measure: Measure, target: float, flops: float) -> Solved:
    """The ResNet closest to `target`, grown in depth or width, at the slow schedule's resolution.

    rule: rs-depth or rs-width. flops: what the schedule is asked for. The factor is the depth in layers
    as ResNets are named, or the width multiplier of this network.
    """
    sized = network.at(slow_resolution(flops))
    if rule == "rs-depth":
        factors: Iterable[float] = range(min(BLOCKS), LARGEST_DEPTH)
    else:
        factors = (parts / WIDTH_PARTS for parts in range(least_parts(network), 64 * WIDTH_PARTS))
    best, best_gap, values = None, math.inf, []
    for factor in factors:
        tried = with_depth(sized, int(factor)) if rule == "rs-depth" else with_width(sized, factor)
        values.append(measure(tried))
        if abs(values[-1] - target) < best_gap:
            best, best_gap = (factor, tried, values[-1]), abs(values[-1] - target)
        if values[-1] > 4 * target:
            break
    if best is None:
        raise UserError(f"{network.name}: {rule} makes no network of it")
    factor, found, reached = best
    name = f"{network.name.split('@')[0]}-{rule}-{factor}@{sized.resolution}"
    reachable = min(values) <= target <= max(values)
    return Solved(replace(found, name=name), factor, (factor, factor), target, reached, reachable)


def with_depth(network: Network, depth: int) -> Network:
    """The network with the block counts of a ResNet of this depth."""
    if len(network.stages) != 4 or any(stage.block != "bottleneck" for stage in network.stages):
        raise UserError(f"{network.name}: rs-depth needs a ResNet of four stages; use dWr or rs-width")
    counts = blocks_of(depth)
    stages = tuple(replace(stage, depth=n) for stage, n in zip(network.stages, counts, strict=True))
    return replace(network, stages=stages)


def with_width(network: Network, width: float) -> Network:
    """Stem and stages `width` times as wide, rounded down, as the authors' width multiplier does."""
    if width < least_parts(network) / WIDTH_PARTS:
        raise UserError(f"{network.name}: width {width:g} leaves a layer no channel; use a larger one")

    def stage(old: Stage) -> Stage:
        return replace(old, width=int(int(old.inner(old.width) * width) / old.bottleneck))

    convs = tuple(Conv(int(conv.width * width), conv.kernel, conv.stride) for conv in network.stem.convs)
    stages = tuple(stage(old) for old in network.stages)
    return replace(network, stem=Stem(convs, network.stem.pool), stages=stages)


def least_parts(network: Network) -> int:
    """The smallest width multiplier, in parts of WIDTH_PARTS, that leaves every layer a channel."""
    widths = [conv.width for conv in network.stem.convs]
    widths += [stage.inner(stage.width) for stage in network.stages]
    return math.ceil(WIDTH_PARTS / min(widths))
