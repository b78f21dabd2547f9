"""Choose a model's execution mode and precision on a device by a few short measurements."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from rescale import machine
from rescale.bench.timing import Precision, Timing, TimingProtocol
from rescale.errors import JobError
from rescale.execution import USUAL, ExecutionMode

GAIN = 0.97  # a mode replaces another if it takes at most this share of its time; smaller gains are noise
# seconds: compiling takes up to minutes, so it is tried only in runs of at least this length
COMPILE_PAYS = 3600.0


class Trial(NamedTuple):
    """One measured mode.

    Args:
        seconds: per step; None if it could not be measured.
        why_not: the reason, if it could not be measured.
    """

    mode: ExecutionMode
    precision: Precision
    seconds: float | None
    why_not: str = ""

    def __str__(self) -> str:
        outcome = f"({self.why_not})" if self.seconds is None else f"{1000 * self.seconds:.4g} ms"
        return f"{self.mode} {self.precision} {outcome}"


class Choice(NamedTuple):
    """The fastest mode and precision, with all trials in order."""

    mode: ExecutionMode
    precision: Precision
    trials: tuple[Trial, ...]

    def because(self) -> str:
        """All measurements in one line."""
        return "measured step times: " + ", ".join(map(str, self.trials))


def precisions_for(protocol: TimingProtocol, usual: Precision) -> list[Precision]:
    """The precisions to choose from, the usual one first; only the protocol's own unless that is auto."""
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
    """Try precisions, memory layouts, compilation and CUDA graphs in turn, and keep each one that is faster.

    Before a mode is replaced it is timed a second time, because the speed of a shared machine changes from
    second to second. If the usual mode does not fit into memory, activation checkpointing is tried.

    Args:
        clock: times the model by a protocol.
        protocol: device, batch and threads; trials use fewer steps than it asks for.
        precisions: candidates, the usual one first.
        steps: length of the coming run; compilation is tried only in long runs.

    Raises:
        JobError: no mode could be measured.
    """
    trials: list[Trial] = []
    short = replace(protocol, warmup=2, repeats=5)

    def attempt(mode: ExecutionMode, precision: Precision) -> Trial:
        trials.append(_trial(clock, replace(short, fast=str(mode), precision=precision)))
        return trials[-1]

    best = attempt(USUAL, precisions[0])
    if best.seconds is None and protocol.mode == "train":
        best = attempt(replace(USUAL, checkpointing=True), precisions[0])
    if best.seconds is None:
        raise JobError(f"no execution mode could be measured: {', '.join(map(str, trials))}")

    def better(best: Trial, other: Trial) -> Trial:
        """The other if it is faster by more than noise, also compared with a second timing of the best."""
        if not _is_faster(other, best):
            return best
        return other if _is_faster(other, attempt(best.mode, best.precision)) else best

    for precision in precisions[1:]:
        best = better(best, attempt(best.mode, precision))
    for change in _changes(best, protocol.device, steps):
        best = better(best, attempt(change(best.mode), best.precision))
    return Choice(best.mode, best.precision, tuple(trials))


def slower_than_fp32(
    clock: Callable[[TimingProtocol], Timing], protocol: TimingProtocol, timing: Timing
) -> str:
    """Time a step in fp32, if it was timed in bf16 on a CPU.

    Args:
        clock: times the model by a protocol.
        protocol: by which the step was timed. If its mode and precision are both auto, fp32 was tried.
        timing: the step's.

    Returns:
        A sentence if bf16 is slower by more than noise; otherwise an empty text.
    """
    was_tried = protocol.fast == "auto" and protocol.precision == "auto"
    if timing.precision != "bf16" or protocol.device != "cpu" or was_tried:
        return ""
    fp32 = clock(replace(protocol, precision="fp32", fast=timing.fast))
    if fp32.latency_s >= GAIN * timing.latency_s:
        return ""
    return (
        f"{timing.model}: bf16 is slower than fp32 on this processor ({1000 * timing.latency_s:.4g} ms, "
        f"in fp32 {1000 * fp32.latency_s:.4g} ms); use --precision fp32"
    )


def _changes(best: Trial, device: str, steps: float) -> list[Callable[[ExecutionMode], ExecutionMode]]:
    """The changes of mode to try once the precision is chosen."""
    on_gpu = device.startswith("cuda")
    changes: list[Callable[[ExecutionMode], ExecutionMode]] = []
    if on_gpu:  # on CPUs channels_last was at least as fast in every measurement, also for timm's networks
        changes.append(partial(replace, layout="contiguous"))
    if not best.mode.checkpointing and (best.seconds or 0.0) * steps >= COMPILE_PAYS:
        changes.append(partial(replace, compile=True))
        if on_gpu:
            changes.append(partial(replace, compile=True, graphs=True))
    return changes


def _trial(clock: Callable[[TimingProtocol], Timing], protocol: TimingProtocol) -> Trial:
    mode = ExecutionMode.parse(protocol.fast)
    try:
        timing = clock(protocol)
    except JobError as error:
        return Trial(mode, protocol.precision, None, str(error).splitlines()[-1][:60])
    if timing.batch_fitted < protocol.batch:
        return Trial(mode, protocol.precision, None, "does not fit")
    return Trial(mode, protocol.precision, timing.quartiles_s[0])  # disturbances only ever add time


def _is_faster(candidate: Trial, current: Trial) -> bool:
    """Whether the candidate takes less time by more than noise."""
    if candidate.seconds is None:
        return False
    return current.seconds is None or candidate.seconds < GAIN * current.seconds
