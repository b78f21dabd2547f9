"""How cost grows with the scaling factor: by the paper's tables, and for real networks."""

from collections.abc import Sequence
from typing import NamedTuple

from rescale.cost import Cost, cost
from rescale.network import Network
from rescale.scaling.factor import scaled
from rescale.scaling.strategy import Strategy


class Growth(NamedTuple):
    """Exponents of s: a quantity becomes s^exponent times what it was."""

    macs: float
    params: float
    activations: float


class Measured(NamedTuple):
    """A real network at one factor. times: its cost against the unscaled network's."""

    factor: float
    cost: Cost
    times: Growth


def analytic(strategy: Strategy) -> Growth:
    """Growth of a stage of depth d, width w, resolution r whose groups grow with its width.

    Multiply-adds ~ d w^2 r^2, parameters ~ d w^2, activations ~ d w r^2 (Fast and Accurate Model
    Scaling, Tables 1, 2 and 4).
    """
    e = strategy
    return Growth(
        macs=e.depth + e.width + e.resolution,
        params=e.depth + e.width,
        activations=e.depth + e.width / 2 + e.resolution,
    )


def analytic_groups(strategy: Strategy) -> Growth:
    """Growth of a group convolution of width w and group width g: multiply-adds ~ d w g r^2 (Table 3)."""
    e, both = strategy, (strategy.width + strategy.group_exponent) / 2
    return Growth(
        macs=e.depth + both + e.resolution,
        params=e.depth + both,
        activations=e.depth + e.width / 2 + e.resolution,
    )


def measured(network: Network, strategy: Strategy, factors: Sequence[float]) -> list[Measured]:
    """The cost of the real, rounded networks at these factors, relative to the unscaled network."""
    base, rows = cost(network), []
    for factor in factors:
        now = cost(scaled(network, strategy, factor))
        rows.append(Measured(factor, now, Growth(*(a / b for a, b in zip(now, base, strict=True)))))
    return rows
