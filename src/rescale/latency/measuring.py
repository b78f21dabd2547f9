"""Timing for calibration: short visits to each network, with a yardstick timed between steps.

The speed of a shared machine can change by a factor of two within a second. The yardstick, a small fixed
workload, measures the machine's current speed. Step times are normalised by it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from rescale.bench.measure import time_steps
from rescale.bench.timing import Mode, TimingProtocol
from rescale.network import Network

MIN_SECONDS = 0.5  # seconds of timed steps per visit, unless the number of steps is reached first
REPETITIONS = 30  # repetitions of the yardstick's work: some milliseconds on one core

Step = Callable[[], object]
Wait = Callable[[], None]


class Visit(NamedTuple):
    """One visit to a network: seconds of its steps, and of the yardstick before, between and after them."""

    network: str
    mode: Mode
    seconds: tuple[float, ...]
    yardstick: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """What a calibration measures.

    Args:
        networks: the networks, all of them visited once before any is visited again.
        modes: the modes that are timed in each visit.
        protocol: how to time a step, except for the mode; `repeats` is the maximum number of steps per visit.
        visits: visits to each network, at least 1.
        tries: attempts per visit if other processes disturb it, at least 1.
    """

    networks: tuple[Network, ...]
    modes: tuple[Mode, ...]
    protocol: TimingProtocol
    visits: int = 3
    tries: int = 3


def visit(network: Network, protocol: TimingProtocol, step: Step, yardstick: Step, wait: Wait) -> Visit:
    """Time up to `protocol.repeats` steps; stop after three or more that took MIN_SECONDS together."""
    time_steps(step, warmup=protocol.warmup, repeats=0, wait=wait)
    seconds: list[float] = []
    yardstick_seconds = time_steps(yardstick, warmup=2, repeats=1, wait=wait)
    while len(seconds) < protocol.repeats and (len(seconds) < 3 or sum(seconds) < MIN_SECONDS):
        seconds += time_steps(step, warmup=0, repeats=1, wait=wait)
        yardstick_seconds += time_steps(yardstick, warmup=0, repeats=1, wait=wait)
    return Visit(network.name, protocol.mode, tuple(seconds), tuple(yardstick_seconds))


def prepared(
    network: Network, protocol: TimingProtocol, mode: Mode
) -> tuple[Step, TimingProtocol, dict[str, Any]]:
    """A function that executes one step as in `rescale bench`, its protocol, and the settings in use."""
    from rescale.bench import steps

    protocol = replace(protocol, mode=mode)
    step, used = steps.prepare(network, protocol, protocol.batch, None)
    return step, protocol, used


def make_yardstick(device: str) -> Step:
    """A small fixed workload: products of matrices that fit in the cache, and passes over a small vector."""
    import torch

    matrix = torch.randn(256, 256, device=device)
    vector = torch.randn(1 << 16, device=device)

    def work() -> None:
        for _ in range(REPETITIONS):
            torch.mm(matrix, matrix)
            torch.mul(vector, 1.0001)

    return work


def levelled(visits: Sequence[Visit]) -> dict[tuple[str, Mode], list[float]]:
    """Normalise step times by the yardstick.

    A step's time is assumed to follow a power of the yardstick's time before and after it. The exponent of
    each mode, 0 to 1, is the slope of their logarithms over all steps, centred for each network.

    Returns:
        Seconds of a step by network and mode, one value for each visit: the median of its steps at the
        median speed of the machine.
    """
    tables = []
    for visited in visits:
        sticks = np.log(visited.yardstick)
        tables.append(np.stack([(sticks[1:] + sticks[:-1]) / 2, np.log(visited.seconds)], axis=1))
    level = float(np.median(np.concatenate(tables)[:, 0]))
    slopes = {mode: _slope(visits, tables, mode) for mode in {visited.mode for visited in visits}}
    times: dict[tuple[str, Mode], list[float]] = {}
    for visited, table in zip(visits, tables, strict=True):
        steady = np.median(table[:, 1] - slopes[visited.mode] * (table[:, 0] - level))
        times.setdefault((visited.network, visited.mode), []).append(float(np.exp(steady)))
    return times


def _slope(visits: Sequence[Visit], tables: Sequence[np.ndarray], mode: Mode) -> float:
    """Slope, clipped to 0..1, of the second column against the first, both centred for each network."""
    grouped: dict[str, list[np.ndarray]] = {}
    for visited, table in zip(visits, tables, strict=True):
        if visited.mode == mode:
            grouped.setdefault(visited.network, []).append(table)
    joined = [np.concatenate(group) for group in grouped.values()]
    centred = np.concatenate([table - table.mean(0) for table in joined])
    spread = float((centred[:, 0] ** 2).sum())
    return min(1.0, max(0.0, float(centred.prod(1).sum()) / spread)) if spread else 0.0


def middle(seconds: Sequence[float]) -> float:
    """Combine the times of several visits: their geometric mean, in seconds."""
    return float(np.exp(np.mean(np.log(seconds))))
