"""The clock of a calibration: short visits to each network, and a yardstick between any two steps.

The speed of a shared machine changes by a factor of up to two within a second. A small fixed piece of work
between the steps tells how fast the machine is at that moment, and its times are used to level the steps'.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from rescale.bench.measure import time_steps
from rescale.bench.timing import Mode, TimingProtocol
from rescale.network import Network

LEAST_S = 0.5  # of measured steps in a visit, unless their number is reached before
PIECES = 30  # of the yardstick's work: some milliseconds on a core

Step = Callable[[], object]
Wait = Callable[[], None]


class Visit(NamedTuple):
    """Seconds of a network's steps in one mode, and of the yardstick before each and behind the last."""

    network: str
    mode: Mode
    seconds: tuple[float, ...]
    yardstick: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """What is measured: each network `visits` times in each mode, the whole list before any again.

    protocol: of every step but for the mode; its repeats are the most steps of a visit. tries: how often a
    visit is made at most, where other processes disturb it.
    """

    networks: tuple[Network, ...]
    modes: tuple[Mode, ...]
    protocol: TimingProtocol
    visits: int = 3
    tries: int = 3


def visit(network: Network, protocol: TimingProtocol, step: Step, yardstick: Step, wait: Wait) -> Visit:
    """Take steps until there are `protocol.repeats` of them, or three that took LEAST_S together."""
    time_steps(step, warmup=protocol.warmup, repeats=0, wait=wait)
    seconds: list[float] = []
    between = time_steps(yardstick, warmup=2, repeats=1, wait=wait)
    while len(seconds) < protocol.repeats and (len(seconds) < 3 or sum(seconds) < LEAST_S):
        seconds += time_steps(step, warmup=0, repeats=1, wait=wait)
        between += time_steps(yardstick, warmup=0, repeats=1, wait=wait)
    return Visit(network.name, protocol.mode, tuple(seconds), tuple(between))


def prepared(
    network: Network, protocol: TimingProtocol, mode: Mode
) -> tuple[Step, TimingProtocol, dict[str, Any]]:
    """A function that takes one step as `rescale bench` times it, its protocol, and what it uses."""
    from rescale.bench import steps

    chosen = replace(protocol, mode=mode)
    step, used = steps.prepare(network, chosen, chosen.batch, None)
    return step, chosen, used


def made_yardstick(device: str) -> Step:
    """Products of small matrices, which stay in the cache, and passes over as small a vector."""
    import torch

    matrix = torch.randn(256, 256, device=device)
    vector = torch.randn(1 << 16, device=device)

    def work() -> None:
        for _ in range(PIECES):
            torch.mm(matrix, matrix)
            torch.mul(vector, 1.0001)

    return work


def levelled(visits: Sequence[Visit]) -> dict[tuple[str, Mode], list[float]]:
    """Seconds of a step by network and mode, one for each visit: the median of its steps, as if the yardstick
    had always taken its own median time.

    A step's time is taken to follow a power of the yardstick's before and behind it. The exponent of each
    mode, 0 to 1, is the slope of their logarithms over all steps, each measured from its network's means.
    """
    tables = []
    for one in visits:
        sticks = np.log(one.yardstick)
        tables.append(np.stack([(sticks[1:] + sticks[:-1]) / 2, np.log(one.seconds)], axis=1))
    level = float(np.median(np.concatenate(tables)[:, 0]))
    slopes = {mode: _slope(visits, tables, mode) for mode in {one.mode for one in visits}}
    found: dict[tuple[str, Mode], list[float]] = {}
    for one, table in zip(visits, tables, strict=True):
        steady = np.median(table[:, 1] - slopes[one.mode] * (table[:, 0] - level))
        found.setdefault((one.network, one.mode), []).append(float(np.exp(steady)))
    return found


def _slope(visits: Sequence[Visit], tables: Sequence[np.ndarray], mode: Mode) -> float:
    """Slope, 0 to 1, of the second column by the first, each from its mean over a network's visits."""
    grouped: dict[str, list[np.ndarray]] = {}
    for one, table in zip(visits, tables, strict=True):
        if one.mode == mode:
            grouped.setdefault(one.network, []).append(table)
    joined = [np.concatenate(some) for some in grouped.values()]
    apart = np.concatenate([table - table.mean(0) for table in joined])
    spread = float((apart[:, 0] ** 2).sum())
    return min(1.0, max(0.0, float(apart.prod(1).sum()) / spread)) if spread else 0.0


def middle(seconds: Sequence[float]) -> float:
    """One time for several visits: their geometric mean."""
    return float(np.exp(np.mean(np.log(seconds))))
