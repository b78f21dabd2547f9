"""Timing of steps, peak memory and halving of the batch, independent of what is timed."""

import os
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_FULL = re.compile(
    r"out of memory|can't allocate memory|not enough memory|bad_alloc"
    r"|ALLOC(ATION)?_FAILED|unable to find an engine",  # cuDNN and cuBLAS near the limit
    re.IGNORECASE,
)


class DidNotFit(Exception):
    """The batch does not fit into memory."""


def halve_until_it_fits(batch: int, attempt: Callable[[int], T]) -> tuple[int, T]:
    """Call `attempt(batch)`, and halve the batch as long as it raises DidNotFit.

    Returns the batch that fitted and the result of the attempt. Raises DidNotFit if one image does not fit.
    """
    size = batch
    while True:
        try:
            return size, attempt(size)
        except DidNotFit:
            if size == 1:
                raise
            size //= 2


def ran_out_of_memory(error: BaseException) -> bool:
    """Is memory full? Besides MemoryError, torch raises errors that only their message identifies."""
    return isinstance(error, MemoryError) or bool(_FULL.search(str(error)))


def time_steps(
    step: Callable[[], object], *, warmup: int, repeats: int, wait: Callable[[], None] = lambda: None
) -> list[float]:
    """Seconds of each of `repeats` steps after `warmup` unmeasured ones.

    wait: synchronises with the device, so that no step includes the work of another.
    """
    for _ in range(warmup):
        step()
    wait()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        step()
        wait()
        seconds.append(time.perf_counter() - begin)
    return seconds


def peak_memory() -> int:
    """Peak memory of this process in bytes. It never falls, so each measurement needs its own process.

    Linux resets VmHWM when a program starts; getrusage's maximum would start at the parent's.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def busy_seconds() -> tuple[float, float] | None:
    """CPU seconds of the whole machine since boot, and of this process; None where unknown.

    The difference of two readings gives the number of cores that other processes kept busy in between.
    """
    try:
        with Path("/proc/stat").open() as file:
            user, nice, system, _idle, _wait, *rest = (int(word) for word in file.readline().split()[1:])
    except OSError:
        return None
    everyone = (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return everyone, own.user + own.system


def others_busy(
    before: tuple[float, float] | None, after: tuple[float, float] | None, wall: float
) -> float | None:
    """Cores that other processes kept busy, on average over `wall` seconds; None where unknown."""
    if before is None or after is None:
        return None
    return max(0.0, ((after[0] - before[0]) - (after[1] - before[1])) / wall)
