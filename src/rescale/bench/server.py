"""A server process that measures: it imports torch once and answers each request in a child process."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rescale.bench.timing import TimingProtocol

if TYPE_CHECKING:
    from rescale.models import External
    from rescale.network import Network


def request(
    model: "Network | External", protocol: TimingProtocol, batch: int, recipe: str | None
) -> dict[str, Any]:
    """A request to measure as plain data.

    Args:
        model: what is timed.
        protocol: how it is timed.
        batch: images per step.
        recipe: a resolved recipe as JSON; None for resnet-rs.
    """
    return {"model": asdict(model), "protocol": asdict(protocol), "batch": batch, "recipe": recipe}


class Server:
    """The server, started with the first request and killed at the end of the `with` block.

    Its imports take longer than most measurements. Calling it sends a request and returns the answer.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer, as `rescale.bench.worker.answer` describes it."""
        process = self._process or self._start()
        assert process.stdin and process.stdout
        try:
            print(json.dumps(request), file=process.stdin, flush=True)
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._process = None  # the next request starts another
        _, errors = process.communicate()
        if process.returncode == -signal.SIGKILL:  # by the kernel, as a child that takes too much memory
            return {"fits": False}
        last = errors.strip().splitlines() or [f"exit code {process.returncode}"]
        return {"error": f"the process that measures ended: {last[-1]}"}

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "rescale.bench.worker"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        return self._process


def ask_once(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request in a new process."""
    with Server() as server:
        return server(request)
