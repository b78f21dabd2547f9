"""Scaled networks by name: a base, a strategy and a stored factor.

`regnety_500mf-dWr-8.2` is an example. The eight networks of Fast and Accurate Model Scaling's Table 8 have
short names too. Their factors reproduce the printed rows; the networks closest to 4 and 16 billion
multiply-adds are mostly others.
"""

import re
from typing import NamedTuple

from rescale.errors import UserError
from rescale.network import Network
from rescale.scaling.factor import scaled
from rescale.scaling.resnet_rs import with_depth, with_width
from rescale.scaling.strategy import strategy_of

TABLE_8 = {  # base, factor of dWr
    "efficientnet_b0_4gf": ("efficientnet_b0", 11.0),
    "efficientnet_b0_16gf": ("efficientnet_b0", 48.0),
    "regnety_500mf_4gf": ("regnety_500mf", 8.2),
    "regnety_500mf_16gf": ("regnety_500mf", 32.8),
    "regnety_4gf_16gf": ("regnety_4gf", 4.0),
    "regnetz_500mf_4gf": ("regnetz_500mf", 8.2),
    "regnetz_500mf_16gf": ("regnetz_500mf", 31.5),
    "regnetz_4gf_16gf": ("regnetz_4gf", 3.885),
}

_NAME = re.compile(
    r"(?P<base>.+(?<!-rs))-(?P<strategy>rs-depth|rs-width|[A-Za-z][\w.]*)-(?P<factor>\d+\.?\d*(?:e-?\d+)?)(?:@(?P<size>\d+))?"
)


class ScaledName(NamedTuple):
    """The parts of a scaled network's name. size: resolution that overrides the scaled one, or 0."""

    base: str
    strategy: str
    factor: float
    size: int


def parsed(name: str) -> ScaledName | None:
    """The parts of a scaled network's name; None for any other name."""
    stem, _, size = name.partition("@")
    if stem in TABLE_8 and (size.isdigit() or not size):
        base, factor = TABLE_8[stem]
        return ScaledName(base, "dWr", factor, int(size or 0))
    if match := _NAME.fullmatch(name):
        return ScaledName(match["base"], match["strategy"], float(match["factor"]), int(match["size"] or 0))
    return None


def apply(base: Network, parts: ScaledName) -> Network:
    """Scale the base as the name says."""
    if parts.strategy == "rs-depth":
        if parts.factor != int(parts.factor):
            raise UserError(f"{base.name}-rs-depth-{parts.factor}: a depth is a whole number of layers")
        network = with_depth(base, int(parts.factor))
    elif parts.strategy == "rs-width":
        network = with_width(base, parts.factor)
    else:
        network = scaled(base, strategy_of(parts.strategy), parts.factor)
    return network.at(parts.size) if parts.size else network
