"""Asking workers to measure. Each measures once; several may do their imports together beforehand."""

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

AT_ONCE = 8  # workers that wait, at most: each holds some 400 MB


def request(
    model: "Network | External", protocol: TimingProtocol, batch: int, recipe: str | None
) -> dict[str, Any]:
    """What a worker is asked, as plain data. recipe: resolved, as JSON; None for resnet-rs."""
    return {"model": asdict(model), "protocol": asdict(protocol), "batch": batch, "recipe": recipe}


class Workers:
    """Workers that have done their imports, which take longer than most measurements.

    Used as a function: the next one answers a request. Up to one a core is started when none is left,
    and nothing is asked before all of them are ready and idle. expected: requests to come.
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
        """Have the request answered. A worker that the kernel kills had too little memory."""
        if not self.ready:
            self._start(max(1, min(machine.cores(), self.expected, AT_ONCE)))
        self.expected -= 1
        worker = self.ready.popleft()
        out, errors = worker.communicate(json.dumps(request))
        if worker.returncode == -signal.SIGKILL:
            return {"fits": False}
        if worker.returncode:
            said = errors.strip().splitlines() or [f"exit code {worker.returncode}"]
            return {"error": said[-1]}
        found: dict[str, Any] = json.loads(out)
        return found

    def _start(self, count: int) -> None:
        command = [sys.executable, "-m", "rescale.bench.worker"]
        pipe = subprocess.PIPE
        started = [
            subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(count)
        ]
        self.ready.extend(started)
        for worker in started:
            assert worker.stdout is not None
            worker.stdout.readline()  # "ready", or nothing if it could not begin: communicate tells why


def ask_once(request: dict[str, Any]) -> dict[str, Any]:
    """Have one request answered by a process of its own."""
    with Workers() as workers:
        return workers(request)
