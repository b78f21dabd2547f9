"""The execution mode and precision of a model on a device, chosen by a few short measurements."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from rescale import machine
from rescale.bench.timing import Precision, Timing, TimingProtocol
from rescale.errors import JobError
from rescale.execution import USUAL, ExecutionMode

GAIN = 0.97  # a mode is taken where it needs this share of the time or less: what is closer is noise
COMPILE_PAYS = 3600.0  # seconds of a run from which on compiling, which costs up to minutes, is tried


class Trial(NamedTuple):
    """What one mode took: seconds a step, or None and why."""

    mode: ExecutionMode
    precision: Precision
    seconds: float | None
    why_not: str = ""

    def __str__(self) -> str:
        took = f"({self.why_not})" if self.seconds is None else f"{1000 * self.seconds:.4g} ms"
        return f"{self.mode} {self.precision} {took}"


class Choice(NamedTuple):
    """The fastest of the modes and precisions that were tried."""

    mode: ExecutionMode
    precision: Precision
    trials: tuple[Trial, ...]

    def because(self) -> str:
        """What was measured, in one line."""
        return "measured a step: " + ", ".join(map(str, self.trials))


def precisions_for(protocol: TimingProtocol, usual: Precision) -> list[Precision]:
    """Those that may be chosen, the usual one first: the protocol's alone, unless it says auto."""
    if protocol.precision != "auto":
        return [protocol.precision]
    return [usual, *(other for other in machine.precisions(protocol.device) if other != usual)]


def fastest(
    clock: Callable[[TimingProtocol], Timing],
    protocol: TimingProtocol,
    precisions: Sequence[Precision],
    *,
    steps: float = math.inf,
) -> Choice:
    """Try precisions, layouts, compiling and CUDA graphs one after another, and keep each that gains.

    What gains is compared with a second try of what it would replace: machines that are shared change their
    speed for seconds. clock: times the model by a protocol, of which a trial takes few steps. precisions:
    those that may be chosen, the usual one first. steps: of the run that is to come; compiling is tried
    only where it can pay. Where the usual mode does not fit into the memory, recomputing is. Raises
    JobError where nothing runs.
    """
    trials: list[Trial] = []
    short = replace(protocol, warmup=2, repeats=5)

    def attempt(mode: ExecutionMode, precision: Precision) -> Trial:
        trials.append(_tried(clock, replace(short, fast=str(mode), precision=precision)))
        return trials[-1]

    best = attempt(USUAL, precisions[0])
    if best.seconds is None and protocol.mode == "train":
        best = attempt(replace(USUAL, checkpointing=True), precisions[0])
    if best.seconds is None:
        raise JobError(f"no execution mode could be measured: {', '.join(map(str, trials))}")

    def better(best: Trial, other: Trial) -> Trial:
        """The other, if it gains more than noise, also over a second try of the best."""
        if not _gains(other, best):
            return best
        return other if _gains(other, attempt(best.mode, best.precision)) else best

    for precision in precisions[1:]:
        best = better(best, attempt(best.mode, precision))
    for changed in _changes(best, protocol.device, steps):
        best = better(best, attempt(changed(best.mode), best.precision))
    return Choice(best.mode, best.precision, tuple(trials))


def _changes(best: Trial, device: str, steps: float) -> list[Callable[[ExecutionMode], ExecutionMode]]:
    """What to try after the precision, for a run of that many steps on this device."""
    on_gpu = device.startswith("cuda")
    found: list[Callable[[ExecutionMode], ExecutionMode]] = []
    if on_gpu:  # on CPUs channels_last was never slower, for any network (timm's, measured)
        found.append(partial(replace, layout="contiguous"))
    if not best.mode.checkpointing and (best.seconds or 0.0) * steps >= COMPILE_PAYS:
        found.append(partial(replace, compile=True))
        if on_gpu:
            found.append(partial(replace, compile=True, graphs=True))
    return found


def _tried(clock: Callable[[TimingProtocol], Timing], protocol: TimingProtocol) -> Trial:
    mode = ExecutionMode.parse(protocol.fast)
    try:
        timing = clock(protocol)
    except JobError as error:
        return Trial(mode, protocol.precision, None, str(error).splitlines()[-1][:60])
    if timing.batch_fitted < protocol.batch:
        return Trial(mode, protocol.precision, None, "does not fit")
    return Trial(mode, protocol.precision, timing.quartiles_s[0])  # what disturbs a step only adds to it


def _gains(one: Trial, over: Trial) -> bool:
    """Does one need clearly less time than the other?"""
    return one.seconds is not None and (over.seconds is None or one.seconds < GAIN * over.seconds)
