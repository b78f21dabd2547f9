"""One network, one batch size, one process: a JSON request on stdin, a JSON answer on stdout.

A process's peak memory never falls, so each measurement has a process of its own.
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
import torch._dynamo  # the first optimizer would import it, within the measured memory

from rescale import machine
from rescale.bench import steps
from rescale.bench.measure import busy_seconds, others_busy, peak_memory, ran_out_of_memory, time_steps
from rescale.bench.timing import TimingProtocol
from rescale.errors import JobError, UserError
from rescale.models import External
from rescale.network import Network, from_mapping


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Measure what was asked: seconds of each step and peak memory, or fits: false, or the error in words."""
    try:
        return {"fits": True, **measure(asked)}
    except (UserError, JobError) as error:
        return {"error": str(error)}
    except (RuntimeError, MemoryError) as error:
        if ran_out_of_memory(error):
            return {"fits": False}
        return {"error": f"{type(error).__name__}: {error}"}


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Time the steps and take the peak of the memory above its level after the imports."""
    protocol = TimingProtocol(**asked["protocol"])
    load = os.getloadavg()[0]
    threads = machine.set_threads(protocol.threads)
    on_gpu = protocol.device.startswith("cuda")
    machine.chosen_device(protocol.device)
    if on_gpu:  # the allocator's peak is of all that this process has done
        machine.use_device(protocol.device)
        torch.cuda.reset_peak_memory_stats(protocol.device)
    before = peak_memory()
    step, used = steps.prepare(read_model(asked["model"]), protocol, asked["batch"], asked["recipe"])
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


def read_model(found: dict[str, Any]) -> Network | External:
    """The model that a request holds."""
    return from_mapping(found) if "stages" in found else External(**found)


def wait_for(device: str) -> Callable[[], None]:
    """A function that returns once the GPU has done all it was asked to."""
    return lambda: torch.cuda.synchronize(device)


def main() -> None:
    """Answer the request on stdin; what a model's own code prints goes to stderr."""
    machine.keep_memory()
    print("ready", flush=True)  # all imports are done
    asked = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        found = answer(asked)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
