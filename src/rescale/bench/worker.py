"""Measure one network at one batch size: a JSON request a line on stdin, a JSON answer a line on stdout.

A process's peak memory never falls, so each measurement runs in a new process: a child of this one, forked
after the imports and before any other work, so that it shares neither threads nor memory of other children.
"""

import datetime
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import IO, Any, NoReturn

import torch
import torch._dynamo  # otherwise the first optimizer imports it, and it counts as the step's memory

from rescale import machine
from rescale.bench import steps
from rescale.bench.measure import busy_seconds, others_busy, peak_memory, ran_out_of_memory, time_steps
from rescale.bench.timing import TimingProtocol
from rescale.errors import JobError, UserError
from rescale.models import External
from rescale.network import Network, from_mapping
from rescale.parent import end_with


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


def answer_in_child(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request in a child process. A child that the kernel killed counts as out of memory."""
    reading, writing = os.pipe()
    parent = os.getpid()
    with tempfile.TemporaryFile() as printed:
        child = os.fork()
        if child == 0:
            _answer_and_exit(request, writing, printed, parent)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            text = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            reply: dict[str, Any] = json.loads(text)
            return reply
        if code == -signal.SIGKILL:
            return {"fits": False}
        printed.seek(0)
        lines = printed.read().decode(errors="replace").strip().splitlines() or [f"exit code {code}"]
        return {"error": lines[-1]}


def _answer_and_exit(request: dict[str, Any], writing: int, printed: IO[bytes], parent: int) -> NoReturn:
    """Write the answer to a pipe and end, in the child; what a model's own code prints goes to `printed`."""
    code = 1
    try:
        end_with(parent)
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        sys.stdout = sys.stderr = os.fdopen(2, "w", closefd=False)
        with os.fdopen(writing, "w") as pipe:
            json.dump(answer(request), pipe)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Answer the requests on stdin until it is closed."""
    machine.keep_memory()
    for line in sys.stdin:
        print(json.dumps(answer_in_child(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
