"""Step time, throughput and memory of a network on this machine; see docs of `Protocol` and `Timing`."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rescale.bench import worker
from rescale.bench.measure import DidNotFit, halve_until_it_fits
from rescale.bench.timing import Protocol, Timing, quartiles
from rescale.errors import JobError

if TYPE_CHECKING:
    from rescale.models import External
    from rescale.network import Network
    from rescale.recipes import Recipe

__all__ = ["Protocol", "Timing", "ask_worker", "time_network"]

Ask = Callable[[dict[str, Any]], dict[str, Any]]


def ask_worker(request: dict[str, Any]) -> dict[str, Any]:
    """Have the request answered by a process of its own. One that the kernel kills did not fit."""
    done = subprocess.run(
        [sys.executable, "-m", "rescale.bench.worker"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == -signal.SIGKILL:
        return {"fits": False}
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"error": said[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def time_network(
    model: "Network | External",
    protocol: Protocol | None = None,
    recipe: "Recipe | None" = None,
    ask: Ask = ask_worker,
) -> Timing:
    """Time a network by a protocol; nothing else should run meanwhile.

    recipe: resolved; a training step is timed with its rates, optimizer and average (resnet-rs if None).
    Raises JobError when not even one image fits or the model fails.
    """
    protocol = protocol or Protocol()
    plain = recipe.model_dump(mode="json") if recipe else None

    def attempt(batch: int) -> dict[str, Any]:
        found = ask(worker.request(model, protocol, batch, plain))
        if "error" in found:
            raise JobError(f"{model.name}: {found['error']}")
        if not found["fits"]:
            raise DidNotFit
        return found

    try:
        fitted, found = halve_until_it_fits(protocol.batch, attempt)
    except DidNotFit:
        raise JobError(f"{model.name}: not even one image fits into the memory") from None
    scale = protocol.batch / fitted
    first, median, third = (scale * value for value in quartiles(found["seconds"]))
    return Timing(
        model=model.name,
        resolution=model.resolution,
        mode=protocol.mode,
        batch=protocol.batch,
        batch_fitted=fitted,
        latency_s=median,
        quartiles_s=(first, third),
        images_per_s=protocol.batch / median,
        memory_bytes=found["memory_bytes"],
        precision=found["precision"],
        memory_format=found["memory_format"],
        settings=found["settings"],
    )
