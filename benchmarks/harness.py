"""Shared by the benchmarks: contenders in separate processes, alternating rounds, one line of JSON."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rescale.bench.measure import peak_memory
from rescale.bench.timing import quartiles

Step = Callable[[], object]


class Contender:
    """A process that runs one contender: it takes a step on request and idles otherwise.

    It has its own allocator settings and its own memory peak, and the others do not disturb it.
    """

    def __init__(self, script: str, name: str, *arguments: str) -> None:
        command = [sys.executable, script, "--serve", name, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, word: str) -> Any:
        """Send a request (ready, step or memory) and read the answer."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{' '.join(self.process.args)} has ended")  # type: ignore[arg-type]
        return json.loads(answer)

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def serve(prepare: Callable[[], Step]) -> None:
    """Run as a contender: prepare once, then answer each line on stdin. Call it after all imports."""
    import time

    before, answers = peak_memory(), sys.stdout
    sys.stdout = sys.stderr
    step = prepare()
    for line in sys.stdin:
        if line.strip() == "step":
            begin = time.perf_counter()
            step()
            answer: Any = time.perf_counter() - begin
        elif line.strip() == "memory":
            answer = peak_memory() - before
        else:
            answer = "ready"
        print(json.dumps(answer), file=answers, flush=True)


def use_one_core() -> None:
    """Run this process on a single core, if the system supports it."""
    import os

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def alternate(contenders: Mapping[str, Contender], *, warmup: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender's steps, alternating so that disturbances of the machine affect all alike."""
    for contender in contenders.values():
        contender.ask("ready")
    for _ in range(warmup):
        for contender in contenders.values():
            contender.ask("step")
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            seconds[name].append(contender.ask("step"))
    return seconds


def compare(question: str, ours: Sequence[float], peer: Sequence[float], unit: str) -> dict[str, Any]:
    """The median of the pairs' ratios peer / ours (above 1: ours is better), its quartiles, both medians."""
    first, ratio, third = quartiles([p / o for o, p in zip(ours, peer, strict=True)])
    return {
        "question": " ".join(question.split()),
        "ours": round(statistics.median(ours), 6),
        "peer": round(statistics.median(peer), 6),
        "ratio": round(ratio, 3),
        "unit": unit,
        "n": len(ours),
        "spread": [round(first, 3), round(third, 3)],
    }


def finish(result: Mapping[str, Any], device: str = "cpu", **more: Any) -> dict[str, Any]:
    """Print the result as JSON, the last line of the output; returns what is printed."""
    import datetime
    import os

    from rescale import machine

    settings = {
        "date": datetime.date.today().isoformat(),
        "load_average": round(os.getloadavg()[0], 2),
        "machine": machine.describe(device),
    }
    complete = {**result, **more, **settings}
    print(json.dumps(complete), flush=True)
    return complete
