"""Scale to a latency: solve by the prediction, measure what it proposes, correct it, solve again."""

import math
from bisect import bisect
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rescale import machine
from rescale.bench import time_network
from rescale.bench.timing import Mode, TimingProtocol
from rescale.errors import UserError
from rescale.latency.model import RuntimeModel
from rescale.network import Network
from rescale.scaling import Measure, Solved, Strategy, meet, predicted, solve, strategy_of

TOLERANCE = 0.05  # share of the latency by which the measured time may differ
ROUNDS = 3


class Round(NamedTuple):
    """One proposal. predicted_s: with the correction known then. measured_s: None where nobody measured."""

    network: Network
    factor: float
    predicted_s: float
    measured_s: float | None


class Scaled(NamedTuple):
    """The proposals in order, the best of them, and whether its time lies within the tolerance.

    solved: of the best; its `reached` is the predicted time. correction: measured / predicted by the
    calibration alone, of the last network that was measured; 1 where none was.
    """

    solved: Solved
    rounds: tuple[Round, ...]
    best: Round
    met: bool
    correction: float


def scale_to_latency(
    network: Network,
    strategy: str | Mapping[str, float] | Strategy,
    latency_s: float,
    runtime: RuntimeModel,
    mode: Mode = "infer",
    *,
    batch: int | None = None,
    alpha: float | None = None,
    measure: Callable[[Network], float] | None = None,
    tolerance: float = TOLERANCE,
    rounds: int = ROUNDS,
) -> Scaled:
    """Scale a network until a step of it takes `latency_s` seconds.

    batch: images a step, the calibration's if None. measure: seconds of a step on the device; after each
    proposal the prediction is multiplied by measured / predicted, between two measured networks by what lies
    between their ratios, and solved again, until the measured time is within `tolerance` of the latency, no
    other network is closer, or `rounds` are over. Without it the first proposal is the answer. Raises
    UserError where the latency is out of reach.
    """
    if not 0 < tolerance < 1 or rounds < 1:
        raise UserError(f"tolerance {tolerance:g}, rounds {rounds}: a share between 0 and 1, and at least 1")
    plain, correction = predicted(runtime, mode, batch), 1.0
    solved, done = meet(network, strategy, plain, latency_s, "s", alpha), list[tuple[Solved, Round]]()
    known: dict[float, float] = {}  # seconds by the calibration alone -> as measured
    for _ in range(rounds):
        if any(solved.network.identity == earlier.network.identity for earlier, _ in done):
            break  # it is known how long this one takes, and nothing is closer
        found = measure(solved.network) if measure else None
        done.append((solved, Round(solved.network, solved.factor, solved.reached, found)))
        if found is None:
            break
        alone = plain(solved.network)
        known[alone], correction = found, found / alone
        if _off(found, latency_s) <= tolerance:
            break
        solved = solve(network, strategy_of(strategy, alpha), _corrected(plain, known), latency_s)
    solved, best = min(done, key=lambda pair: _off(_known(pair[1]), latency_s))
    met = _off(_known(best), latency_s) <= tolerance
    return Scaled(solved, tuple(each for _, each in done), best, met, correction)


def measured_here(
    runtime: RuntimeModel, mode: Mode = "infer", batch: int | None = None
) -> Callable[[Network], float]:
    """What measures a network as the device was calibrated: seconds of a step, in a process of its own.

    Raises UserError where the calibration is of another machine or of other versions than this one's.
    """
    if other := differences(runtime):
        raise UserError(f"the device file is of another machine: {other}")
    used = runtime.settings
    protocol = TimingProtocol(
        mode,
        batch or runtime.batch,
        used["runs_on"],
        used["precision"],
        used["threads"],
        fast=used["fast"],
    )
    return lambda network: time_network(network, protocol).latency_s


def differences(runtime: RuntimeModel) -> str:
    """What of this machine differs from the one that was calibrated, in words; empty if nothing does."""
    on = runtime.settings["runs_on"]
    if on.startswith("cuda") and machine.default_device() != "cuda":
        return "it has a GPU, and this one has none"
    here = machine.describe(on)
    named = ("device", "cores", "torch")
    return "; ".join(
        f"{name} {runtime.settings[name]} there, {here[name]} here"
        for name in named
        if runtime.settings[name] != here[name]
    )


def _corrected(plain: Measure, known: Mapping[float, float]) -> Measure:
    """The prediction led through what was measured: on a line between two neighbours, both in logarithms."""
    at = [math.log(alone) for alone in sorted(known)]
    off = [math.log(known[alone] / alone) for alone in sorted(known)]

    def seconds(network: Network) -> float:
        alone = plain(network)
        place = min(max(math.log(alone), at[0]), at[-1])  # beyond the outermost as at the outermost
        right = max(1, bisect(at, place, hi=len(at) - 1)) if len(at) > 1 else 0
        left = max(0, right - 1)
        share = (place - at[left]) / (at[right] - at[left]) if right else 0.0
        return alone * math.exp(off[left] + share * (off[right] - off[left]))

    return seconds


def _known(one: Round) -> float:
    return one.predicted_s if one.measured_s is None else one.measured_s


def _off(seconds: float, latency_s: float) -> float:
    return abs(seconds / latency_s - 1)
