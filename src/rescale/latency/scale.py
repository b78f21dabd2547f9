"""Scale a network to a latency: propose by the prediction, measure, correct the prediction, repeat."""

import math
from bisect import bisect
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rescale import machine
from rescale.bench import Ask, time_network
from rescale.bench.server import ask_once
from rescale.bench.timing import Mode, TimingProtocol
from rescale.errors import UserError
from rescale.latency.model import RuntimeModel
from rescale.network import Network
from rescale.scaling import Measure, Solved, Strategy, meet, predicted, solve, strategy_of

TOLERANCE = 0.05  # relative difference between measured time and target that is accepted
ROUNDS = 3


class Round(NamedTuple):
    """One proposed network.

    Args:
        network: the proposal.
        factor: the scaling factor of its strategy.
        predicted_s: predicted seconds per step, with the corrections known in that round.
        measured_s: measured seconds per step; None if it was not measured.
    """

    network: Network
    factor: float
    predicted_s: float
    measured_s: float | None


class Scaled(NamedTuple):
    """The result of scaling to a latency.

    Args:
        solved: the solution of the best round; its `reached` is the predicted time in seconds.
        rounds: all proposals, in order.
        best: the round whose time, measured if possible, is closest to the target.
        met: whether that time is within the tolerance.
        correction: measured time / uncorrected prediction for the last measured network; 1 if none was
            measured.
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
    """Scale a network so that one step takes a given time.

    The closest network by prediction is proposed. If `measure` is given, the proposal is timed, the
    prediction is corrected by measured / predicted (interpolated in logarithms between measured networks),
    and the next proposal is found. This ends when a measured time is within the tolerance, when no other
    network is closer, or after `rounds` rounds.

    Args:
        network: the network to scale.
        strategy: name of a scaling strategy, exponents, or a `Strategy`, as in `rescale.scale`.
        latency_s: target in seconds per step, above 0.
        runtime: the calibrated model of the device.
        mode: `train` for a whole training step, `infer` for a forward pass.
        batch: images per step, at least 1; None for the batch of the calibration.
        alpha: the parameter of the strategy `fast`, as in `rescale.scale`.
        measure: returns the measured seconds per step of a network on the device, for the same mode and
            batch; `rescale.latency.measured_here` makes one. None: the first proposal is the result.
        tolerance: accepted relative difference between measured time and target, in (0, 1).
        rounds: maximum number of proposals, at least 1.

    Returns:
        All rounds, the best of them, and whether it meets the target within the tolerance.

    Raises:
        UserError: the latency is out of reach, the mode was not calibrated, or an argument is invalid.

    Source:
        This project; see docs/runtime.md.
    """
    if not 0 < tolerance < 1 or rounds < 1:
        raise UserError(
            f"tolerance {tolerance:g}, rounds {rounds}: tolerance must be between 0 and 1, rounds at least 1"
        )
    predict, correction = predicted(runtime, mode, batch), 1.0
    solved, done = meet(network, strategy, predict, latency_s, "s", alpha), list[tuple[Solved, Round]]()
    measurements: dict[float, float] = {}  # uncorrected prediction -> measured, in seconds
    for _ in range(rounds):
        if any(solved.network.identity == earlier.network.identity for earlier, _ in done):
            break  # already measured, and no other network is closer
        measured_s = measure(solved.network) if measure else None
        done.append((solved, Round(solved.network, solved.factor, solved.reached, measured_s)))
        if measured_s is None:
            break
        uncorrected = predict(solved.network)
        measurements[uncorrected], correction = measured_s, measured_s / uncorrected
        if _error(measured_s, latency_s) <= tolerance:
            break
        solved = solve(network, strategy_of(strategy, alpha), _corrected(predict, measurements), latency_s)
    solved, best = min(done, key=lambda pair: _error(_best_known(pair[1]), latency_s))
    met = _error(_best_known(best), latency_s) <= tolerance
    return Scaled(solved, tuple(proposal for _, proposal in done), best, met, correction)


def measured_here(
    runtime: RuntimeModel, mode: Mode = "infer", batch: int | None = None, ask: Ask = ask_once
) -> Callable[[Network], float]:
    """Make the `measure` argument of `scale_to_latency` and of `search_within` for this machine.

    Args:
        runtime: the calibrated model; its device, precision, threads and execution mode are used.
        mode: `train` or `infer`.
        batch: images per step, at least 1; None for the batch of the calibration.
        ask: answers requests for measurements. The default starts a process for each; `Server` is faster for
            many networks.

    Returns:
        A function that times a network in a separate process and returns seconds per step.

    Raises:
        UserError: the calibration was made on another machine or with another version of torch.
    """
    if mismatch := differences(runtime):
        raise UserError(f"the device file does not match this machine: {mismatch}; calibrate again")
    settings = runtime.settings
    protocol = TimingProtocol(
        mode,
        batch or runtime.batch,
        settings["runs_on"],
        settings["precision"],
        settings["threads"],
        fast=settings["fast"],
    )
    return lambda network: time_network(network, protocol, None, ask).latency_s


def differences(runtime: RuntimeModel) -> str:
    """How this machine differs from the calibrated one, as text; empty if it does not."""
    device = runtime.settings["runs_on"]
    if device.startswith("cuda") and machine.default_device() != "cuda":
        return "calibrated on a GPU, and this machine has none"
    here = machine.describe(device)
    compared = ("device", "cores", "torch")
    return "; ".join(
        f"{name} {runtime.settings[name]} in the file, {here[name]} here"
        for name in compared
        if runtime.settings[name] != here[name]
    )


def _corrected(predict: Measure, measurements: Mapping[float, float]) -> Measure:
    """The prediction corrected by the measurements, with linear interpolation in logarithms."""
    x = [math.log(uncorrected) for uncorrected in sorted(measurements)]
    y = [math.log(measurements[uncorrected] / uncorrected) for uncorrected in sorted(measurements)]

    def seconds(network: Network) -> float:
        uncorrected = predict(network)
        at = min(max(math.log(uncorrected), x[0]), x[-1])  # constant beyond the outermost measurements
        right = max(1, bisect(x, at, hi=len(x) - 1)) if len(x) > 1 else 0
        left = max(0, right - 1)
        share = (at - x[left]) / (x[right] - x[left]) if right else 0.0
        return uncorrected * math.exp(y[left] + share * (y[right] - y[left]))

    return seconds


def _best_known(proposal: Round) -> float:
    return proposal.predicted_s if proposal.measured_s is None else proposal.measured_s


def _error(seconds: float, latency_s: float) -> float:
    return abs(seconds / latency_s - 1)
