"""The two scaling rules of ResNet-RS: depth or width by training regime, and resolution slowly."""

import math
from collections.abc import Iterable
from dataclasses import replace

from rescale.errors import UserError
from rescale.families.resnet import BLOCKS, blocks_of
from rescale.families.schedule import slow_resolution
from rescale.network import Network, Stage, problems
from rescale.scaling.solve import Measure, Solved

# a width multiplier is a whole number of these parts of 1: the smallest change that affects a layer
WIDTH_PARTS = 512
LARGEST_DEPTH = 5000


def rule_for(epochs: int) -> str:
    """`rs-depth` in long regimes, `rs-width` in short ones (ResNet-RS 6.1); in between, compare both."""
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

    rule: rs-depth or rs-width. flops: for the resolution schedule. The factor is the depth in layers, as in
    the names of ResNets, or the width multiplier of this network.
    """
    sized = network.at(slow_resolution(flops))
    if rule == "rs-depth":
        factors: Iterable[float] = range(min(BLOCKS), LARGEST_DEPTH)
    else:
        factors = (parts / WIDTH_PARTS for parts in range(least_parts(network), 64 * WIDTH_PARTS))
    best, best_gap, values = None, math.inf, list[float]()
    mistakes: list[str] = []
    for factor in factors:
        tried = with_depth(sized, int(factor)) if rule == "rs-depth" else with_width(sized, factor)
        if mistakes := problems(tried):  # such as groups that do not divide the width
            continue
        values.append(measure(tried))
        if abs(values[-1] - target) < best_gap:
            best, best_gap = (factor, tried, values[-1]), abs(values[-1] - target)
        if values[-1] > 4 * target:
            break
    if best is None:
        raise UserError(f"{network.name}: {rule} makes no network of it; {mistakes[0]}")
    factor, closest, reached = best
    name = f"{network.name.split('@')[0]}-{rule}-{factor}@{sized.resolution}"
    reachable = min(values) <= target <= max(values)
    return Solved(replace(closest, name=name), factor, (factor, factor), target, reached, reachable)


def with_depth(network: Network, depth: int) -> Network:
    """The network with the block counts of a ResNet of this depth."""
    narrow = all(stage.block == "bottleneck" and stage.bottleneck < 1 for stage in network.stages)
    if len(network.stages) != 4 or not narrow:  # a RegNet's blocks are as wide inside as outside
        raise UserError(
            f"{network.name}: rs-depth needs a ResNet: four stages of blocks that are narrower inside; "
            "use dWr or rs-width"
        )
    counts = blocks_of(depth)
    stages = tuple(replace(stage, depth=n) for stage, n in zip(network.stages, counts, strict=True))
    return replace(network, stages=stages)


def with_width(network: Network, width: float) -> Network:
    """Stem and stages `width` times as wide, rounded down, as the authors' width multiplier does."""
    if width < least_parts(network) / WIDTH_PARTS:
        raise UserError(f"{network.name}: width {width:g} leaves a layer no channel; use a larger one")

    def stage(old: Stage) -> Stage:
        return replace(old, width=int(int(old.inner(old.width) * width) / old.bottleneck))

    convs = tuple(replace(conv, width=int(conv.width * width)) for conv in network.stem.convs)
    stages = tuple(stage(old) for old in network.stages)
    return replace(network, stem=replace(network.stem, convs=convs), stages=stages)


def least_parts(network: Network) -> int:
    """The smallest width multiplier, in parts of WIDTH_PARTS, that leaves a channel in every layer."""
    widths = [conv.width for conv in network.stem.convs]
    widths += [stage.inner(stage.width) for stage in network.stages]
    return math.ceil(WIDTH_PARTS / min(widths))
