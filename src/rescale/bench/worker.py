"""Measure one network at one batch size: a JSON request on stdin, a JSON answer on stdout.

A process's peak memory never falls, so each measurement runs in a new process.
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
import torch._dynamo  # otherwise the first optimizer imports it, and it counts as the step's memory

from rescale import machine
from rescale.bench import steps
from rescale.bench.measure import busy_seconds, others_busy, peak_memory, ran_out_of_memory, time_steps
from rescale.bench.timing import TimingProtocol
from rescale.errors import JobError, UserError
from rescale.models import External
from rescale.network import Network, from_mapping


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The measurement, or `fits: false` if memory ran out, or `error` with its message."""
    try:
        return {"fits": True, **measure(request)}
    except (UserError, JobError) as error:
        return {"error": str(error)}
    except Exception as error:  # an external model's own code may raise anything
        if ran_out_of_memory(error):
            return {"fits": False}
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each step, and the peak memory above the level after the imports."""
    protocol = TimingProtocol(**request["protocol"])
    load = os.getloadavg()[0]
    threads = machine.set_threads(protocol.threads)
    on_gpu = protocol.device.startswith("cuda")
    machine.chosen_device(protocol.device)
    if on_gpu:  # the allocator's peak covers everything since the process started
        machine.use_device(protocol.device)
        torch.cuda.reset_peak_memory_stats(protocol.device)
    before = peak_memory()
    model = read_model(request["model"])
    step, used = steps.prepare(model, protocol, request["batch"], request["recipe"])
    started, busy = time.perf_counter(), busy_seconds()
    seconds = time_steps(
        step,
        warmup=protocol.warmup,
        repeats=protocol.repeats,
        wait=wait_for(protocol.device) if on_gpu else lambda: None,
    )
    others = others_busy(busy, busy_seconds(), time.perf_counter() - started)
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


def read_model(values: dict[str, Any]) -> Network | External:
    """The model in a request."""
    return from_mapping(values) if "stages" in values else External(**values)


def wait_for(device: str) -> Callable[[], None]:
    """A function that blocks until the GPU is idle."""
    return lambda: torch.cuda.synchronize(device)


def main() -> None:
    """Answer the request on stdin. Anything that a model's own code prints goes to stderr."""
    machine.keep_memory()
    print("ready", flush=True)  # all imports are done
    request = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        reply = answer(request)
    print(json.dumps(reply))


if __name__ == "__main__":
    main()
