"""Worker processes that measure. Each handles one request; several can be started in advance."""

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

AT_ONCE = 8  # maximum number of idle workers: each uses about 400 MB


def request(
    model: "Network | External", protocol: TimingProtocol, batch: int, recipe: str | None
) -> dict[str, Any]:
    """The request to a worker, as plain data. recipe: resolved, as JSON; None for resnet-rs."""
    return {"model": asdict(model), "protocol": asdict(protocol), "batch": batch, "recipe": recipe}


class Workers:
    """A pool of workers that have finished their imports, which take longer than most measurements.

    Call it with a request: the next worker answers. When the pool is empty, up to one worker per core is
    started, and no request is sent until all of them are ready and idle. expected: number of requests.
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
        """Send the request to a worker and return its answer. SIGKILL is taken to mean out of memory."""
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
            worker.stdout.readline()  # "ready", or empty if it failed to start: communicate reports why


def ask_once(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request in a separate process."""
    with Workers() as workers:
        return workers(request)
