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

GAIN = 0.97  # a mode replaces another if it takes at most this fraction of its time; the rest is noise
COMPILE_PAYS = 3600.0  # minimum seconds of a run for trying to compile, which can take minutes


class Trial(NamedTuple):
    """The result of one mode: seconds per step, or None and the reason."""

    mode: ExecutionMode
    precision: Precision
    seconds: float | None
    why_not: str = ""

    def __str__(self) -> str:
        took = f"({self.why_not})" if self.seconds is None else f"{1000 * self.seconds:.4g} ms"
        return f"{self.mode} {self.precision} {took}"


class Choice(NamedTuple):
    """The fastest mode and precision, and all trials."""

    mode: ExecutionMode
    precision: Precision
    trials: tuple[Trial, ...]

    def because(self) -> str:
        """The measurements behind the choice, in one line."""
        return "measured a step: " + ", ".join(map(str, self.trials))


def precisions_for(protocol: TimingProtocol, usual: Precision) -> list[Precision]:
    """The candidate precisions, the usual one first; only the protocol's, unless that is auto."""
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
    """Try precisions, layouts, compiling and CUDA graphs in turn, and keep each change that saves time.

    Before a change is kept, the mode that it replaces is measured again: the speed of a shared machine
    varies over seconds. If the usual mode does not fit into memory, activation checkpointing is tried.

    clock: times the model by a protocol; a trial takes only a few steps. precisions: the candidates, the
    usual one first. steps: length of the planned run; compiling is tried only for long runs.
    Raises JobError if no mode runs.
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
        """The other, if it is faster by more than noise, also than a second measurement of the best."""
        if not _gains(other, best):
            return best
        return other if _gains(other, attempt(best.mode, best.precision)) else best

    for precision in precisions[1:]:
        best = better(best, attempt(best.mode, precision))
    for changed in _changes(best, protocol.device, steps):
        best = better(best, attempt(changed(best.mode), best.precision))
    return Choice(best.mode, best.precision, tuple(trials))


def _changes(best: Trial, device: str, steps: float) -> list[Callable[[ExecutionMode], ExecutionMode]]:
    """The changes to try after the precision, for a run of `steps` steps on this device."""
    on_gpu = device.startswith("cuda")
    changes: list[Callable[[ExecutionMode], ExecutionMode]] = []
    if on_gpu:  # on CPUs channels_last was never slower, for any network (timm's, measured)
        changes.append(partial(replace, layout="contiguous"))
    if not best.mode.checkpointing and (best.seconds or 0.0) * steps >= COMPILE_PAYS:
        changes.append(partial(replace, compile=True))
        if on_gpu:
            changes.append(partial(replace, compile=True, graphs=True))
    return changes


def _tried(clock: Callable[[TimingProtocol], Timing], protocol: TimingProtocol) -> Trial:
    mode = ExecutionMode.parse(protocol.fast)
    try:
        timing = clock(protocol)
    except JobError as error:
        return Trial(mode, protocol.precision, None, str(error).splitlines()[-1][:60])
    if timing.batch_fitted < protocol.batch:
        return Trial(mode, protocol.precision, None, "does not fit")
    return Trial(mode, protocol.precision, timing.quartiles_s[0])  # interference only adds time


def _gains(trial: Trial, over: Trial) -> bool:
    """Is the trial clearly faster than the other?"""
    return trial.seconds is not None and (over.seconds is None or trial.seconds < GAIN * over.seconds)
