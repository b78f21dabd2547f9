"""A pool of worker processes that measure; each answers one request. Several import torch in parallel."""

import json
import signal
import subprocess
import sys
from collections import deque
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rescale import machine
from rescale.bench.timing import TimingProtocol

if TYPE_CHECKING:
    from rescale.models import External
    from rescale.network import Network

AT_ONCE = 8  # idle workers at most: each takes about 400 MB


def request(
    model: "Network | External", protocol: TimingProtocol, batch: int, recipe: str | None
) -> dict[str, Any]:
    """A worker's request as plain data.

    Args:
        model: what is timed.
        protocol: how it is timed.
        batch: images per step.
        recipe: a resolved recipe as JSON; None for resnet-rs.
    """
    return {"model": asdict(model), "protocol": asdict(protocol), "batch": batch, "recipe": recipe}


class Workers:
    """A pool of workers that have finished their imports, which take longer than most measurements.

    Calling the pool sends a request to the next worker. When the pool is empty it starts up to one worker
    per core, and sends no request before all of them are idle, so that imports never disturb a timing.

    Args:
        expected: number of requests to come; no more workers than that are started.
    """

    def __init__(self, expected: int = 1) -> None:
        self.expected = expected
        self.ready: deque[subprocess.Popen[str]] = deque()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        while self.ready:
            worker = self.ready.pop()
            worker.kill()
            worker.communicate()

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer. A worker killed by the kernel counts as out of memory."""
        if not self.ready:
            self._start(max(1, min(machine.cores(), self.expected, AT_ONCE)))
        self.expected -= 1
        worker = self.ready.popleft()
        out, errors = worker.communicate(json.dumps(request))
        if worker.returncode == -signal.SIGKILL:
            return {"fits": False}
        if worker.returncode:
            lines = errors.strip().splitlines() or [f"exit code {worker.returncode}"]
            return {"error": lines[-1]}
        answer: dict[str, Any] = json.loads(out)
        return answer

    def _start(self, count: int) -> None:
        command = [sys.executable, "-m", "rescale.bench.worker"]
        pipe = subprocess.PIPE
        started = [
            subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(count)
        ]
        self.ready.extend(started)
        for worker in started:
            assert worker.stdout is not None
            worker.stdout.readline()  # "ready", or nothing if it failed to start: communicate returns why


def ask_once(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request in a new process."""
    with Workers() as workers:
        return workers(request)
