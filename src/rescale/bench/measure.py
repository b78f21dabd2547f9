"""Timing steps, reading peak memory, halving the batch; independent of what is timed."""

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
    """A batch did not fit into memory."""


def halve_until_it_fits(batch: int, attempt: Callable[[int], T]) -> tuple[int, T]:
    """Call `attempt(batch)`, and halve the batch as long as it raises DidNotFit.

    Returns:
        The batch that fitted and what `attempt` returned.

    Raises:
        DidNotFit: not even one image fits.
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
    """Whether an error means out of memory; torch raises MemoryError, OutOfMemoryError or a plain message."""
    return isinstance(error, MemoryError) or bool(_FULL.search(str(error)))


def time_steps(
    step: Callable[[], object], *, warmup: int, repeats: int, wait: Callable[[], None] = lambda: None
) -> list[float]:
    """Seconds of each of `repeats` steps, after `warmup` untimed ones.

    Args:
        step: takes one step.
        warmup: untimed steps.
        repeats: timed steps.
        wait: blocks until the device is idle, so that no step is charged for another's work.
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
    """Peak resident memory of this process in bytes. It never falls, so each measurement needs a new process.

    On Linux without the files mapped now: they are mostly the code of libraries, which a child of a process
    maps again as it runs it. Linux resets VmHWM when a process begins; getrusage's maximum would start at the
    parent's value.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    peak_kb, files_kb = (int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) for name in ("VmHWM", "RssFile"))
    return (peak_kb - files_kb) * 1024


def busy_seconds() -> tuple[float, float] | None:
    """CPU seconds used so far by the whole system and by this process; None where unknown.

    The difference of two such pairs gives the load by other processes in between (`others_busy`).
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
    """Average number of cores that other processes used over `wall` seconds; None where unknown."""
    if before is None or after is None:
        return None
    return max(0.0, ((after[0] - before[0]) - (after[1] - before[1])) / wall)
