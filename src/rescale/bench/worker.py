"""Measure one network at one batch size: a JSON request on stdin, a JSON answer on stdout.

The peak memory of a process never falls, so each measurement has its own process.
"""

import contextlib
import datetime
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo  # else the first optimizer imports it, and its memory is measured too

from rescale import machine
from rescale.bench import steps
from rescale.bench.measure import busy_seconds, others_busy, peak_memory, ran_out_of_memory, time_steps
from rescale.bench.timing import TimingProtocol
from rescale.errors import JobError, UserError
from rescale.models import External
from rescale.network import Network, from_mapping


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Handle a request: seconds per step and peak memory, or fits: false, or the error message."""
    try:
        return {"fits": True, **measure(request)}
    except (UserError, JobError) as error:
        return {"error": str(error)}
    except (RuntimeError, MemoryError) as error:
        if ran_out_of_memory(error):
            return {"fits": False}
        return {"error": f"{type(error).__name__}: {error}"}


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Time the steps, and measure peak memory above the level after the imports."""
    protocol = TimingProtocol(**request["protocol"])
    load = os.getloadavg()[0]
    threads = machine.set_threads(protocol.threads)
    on_gpu = protocol.device.startswith("cuda")
    machine.chosen_device(protocol.device)
    if on_gpu:  # the peak covers everything this process has allocated
        machine.use_device(protocol.device)
        torch.cuda.reset_peak_memory_stats(protocol.device)
    before = peak_memory()
    step, used = steps.prepare(read_model(request["model"]), protocol, request["batch"], request["recipe"])
    began, busy = time.perf_counter(), busy_seconds()
    seconds = time_steps(
        step,
        warmup=protocol.warmup,
        repeats=protocol.repeats,
        wait=wait_for(protocol.device) if on_gpu else lambda: None,
    )
    others = others_busy(busy, busy_seconds(), time.perf_counter() - began)
    memory = torch.cuda.max_memory_allocated(protocol.device) if on_gpu else peak_memory() - before
    return {
        "seconds": seconds,
        "memory_bytes": memory,
        "precision": used["precision"],
        "fast": used["fast"],
        "settings": {
            **({"folded": used["folded"]} if "folded" in used else {}),
            **machine.describe(protocol.device),
            "threads": threads,
            "load_average": round(load, 2),
            "others_busy_cores": others if others is None else round(others, 2),
            "warmup": protocol.warmup,
            "repeats": protocol.repeats,
            "date": datetime.date.today().isoformat(),
        },
    }


def read_model(plain: dict[str, Any]) -> Network | External:
    """Read the model of a request."""
    return from_mapping(plain) if "stages" in plain else External(**plain)


def wait_for(device: str) -> Callable[[], None]:
    """A function that waits until the GPU has finished all queued work."""
    return lambda: torch.cuda.synchronize(device)


def main() -> None:
    """Answer the request on stdin. Output of the model's own code goes to stderr."""
    machine.keep_memory()
    print("ready", flush=True)  # all imports are done
    request = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        result = answer(request)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
