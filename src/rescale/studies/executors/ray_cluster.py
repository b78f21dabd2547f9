"""Trainings on a Ray cluster, a task for each; the driver starts again what a dead node or worker loses."""

import logging
import math
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import Any, NamedTuple

from rescale import machine
from rescale.errors import JobError, UserError, first_line, plural
from rescale.studies.executors.executor import Division, Ending, Job, Settings
from rescale.studies.executors.process import run_to_end

CONNECT = 5.0  # seconds to wait for an answer from --address
STOP = 120.0  # seconds to wait for a training that was told to save and stop
NO_NODE = 300.0  # seconds without a node that can run a training, after which the study stops
CHECK_NODES = 10.0  # seconds between looks at the nodes
STORE = 100 * 2**20  # bytes of shared memory of a cluster started here; tasks exchange next to nothing


class Node(NamedTuple):
    """What a node of a cluster has for tasks."""

    cpus: float
    gpus: float


class RayWorker:
    """A training as a Ray task."""

    def __init__(self, task: Any, cluster: "RayExecutor") -> None:
        self.task, self.cluster = task, cluster

    def ended(self) -> Ending | None:
        import ray

        if not ray.wait([self.task], timeout=0)[0]:
            self.cluster.check_nodes()
            return None
        try:
            return Ending(ray.get(self.task))
        except ray.exceptions.RayTaskError as error:  # before the training: rescale is missing there
            return Ending(1, f"Ray: {str(error).strip().splitlines()[-1]}")
        except ray.exceptions.RayError as error:
            return Ending(None, f"Ray: {first_line(error)}")

    def stop(self) -> None:
        import ray

        ray.cancel(self.task, force=False, recursive=False)  # raises KeyboardInterrupt in `run_to_end`

    def wait(self) -> Ending:
        import ray

        if not ray.wait([self.task], timeout=STOP)[0]:
            ray.cancel(self.task, force=True, recursive=False)
            return Ending(None, "Ray: it did not stop")
        return self.ended() or Ending(None)


class RayExecutor:
    """Trainings on a Ray cluster.

    Args:
        address: HOST:PORT of the cluster's head; empty for the cluster that this machine belongs to, or, if
            there is none, for one of this machine alone that ends with the study.
        gpus: of each training, also a fraction; None for one if the cluster has any.
        cpus: of each training; None to divide the cluster's.
    """

    def __init__(self, address: str = "", gpus: float | None = None, cpus: int | None = None) -> None:
        if find_spec("ray") is None:
            raise UserError("--on ray: Ray is not installed: pip install 'rescale-vision[ray]'")
        if address.startswith("ray://"):
            raise UserError(
                f"--address {address}: Ray's client is not supported; run the command on a machine of the "
                f"cluster, with the head's HOST:PORT"
            )
        self.address = address or os.environ.get("RAY_ADDRESS", "")
        self.gpus, self.cpus = gpus, cpus
        self.needs = Node(1, 0)
        self.last_look = self.last_fit = 0.0

    def __enter__(self) -> "RayExecutor":
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        with _own_signals():
            if self.address and self.address not in ("auto", "local"):
                check_answers(self.address)
            try:
                ray.init(address=self.address or "auto", **quiet)
            except ConnectionError:
                if self.address:
                    raise UserError(
                        f"--address {self.address}: no Ray cluster answers; if it asks for a token, "
                        f"set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
                    ) from None
                ray.init(
                    address="local",
                    num_cpus=machine.cores(),
                    include_dashboard=False,
                    object_store_memory=STORE,
                    **quiet,
                )
            except (RuntimeError, ValueError) as error:
                raise UserError(f"--address {self.address}: {first_line(error)}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        with _own_signals():
            ray.shutdown()

    def divide(self, settings: Settings, missing: int) -> Division:
        nodes = self._nodes()
        gpus = min(1.0, max((node.gpus for node in nodes), default=0)) if self.gpus is None else self.gpus
        division = divide(nodes, gpus, self.cpus, settings.jobs, missing)
        self.needs = Node(division.threads, gpus)
        self.last_fit = time.monotonic()
        return division

    def start(self, jobs: Sequence[Job]) -> list[RayWorker]:
        import ray

        train = ray.remote(run_to_end)
        needs = {"num_cpus": self.needs.cpus, "num_gpus": self.needs.gpus, "max_retries": 0}
        return [RayWorker(train.options(name=job.name, **needs).remote(job), self) for job in jobs]

    def check_nodes(self) -> None:
        """Raise JobError if for a while there has been no node that could run a training."""
        now = time.monotonic()
        if now - self.last_look < CHECK_NODES:
            return
        self.last_look = now
        if any(places([node], self.needs.gpus, self.needs.cpus) for node in self._nodes()):
            self.last_fit = now
        elif now - self.last_fit > NO_NODE:
            raise JobError(
                f"no node of the Ray cluster has had {_request(self.needs)} for {NO_NODE / 60:.0f} minutes; "
                f"repeat the command to continue when it has"
            )

    def _nodes(self) -> list[Node]:
        import ray

        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return [Node(has.get("CPU", 0), has.get("GPU", 0)) for has in alive]


def divide(nodes: Sequence[Node], gpus: float, cpus: int | None, jobs: int | None, missing: int) -> Division:
    """Share the nodes' cores and GPUs among as many trainings as run at a time.

    gpus: of each. cpus: of each; None for as many as leave room for all that run at a time. jobs: how many
    run at a time at most. Raises UserError if no node can ever run one.
    """
    room = places(nodes, gpus, cpus or 1)
    if room == 0:
        most = Node(max((n.cpus for n in nodes), default=0), max((n.gpus for n in nodes), default=0))
        raise UserError(
            f"no node of the Ray cluster has {_request(Node(cpus or 1, gpus))}; the largest have "
            f"{_request(most)}"
        )
    at_a_time = min(jobs or room, room, missing)
    most_cpus = int(max(node.cpus for node in nodes))
    threads = cpus or max(n for n in range(1, most_cpus + 1) if places(nodes, gpus, n) >= at_a_time)
    return Division(at_a_time, threads, "cuda" if gpus else "cpu")


def places(nodes: Sequence[Node], gpus: float, cpus: float) -> int:
    """How many trainings with so many GPUs and cores fit into the nodes."""
    by_gpus = (math.floor(node.gpus / gpus + 1e-6) if gpus else math.inf for node in nodes)
    return int(sum(min(limit, node.cpus // cpus) for node, limit in zip(nodes, by_gpus, strict=True)))


def check_answers(address: str) -> None:
    """Check that something listens at HOST:PORT; Ray itself would try for minutes. Raises UserError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--address {address}: expected HOST:PORT of the head, as in --address 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), CONNECT).close()
    except (OSError, OverflowError):
        raise UserError(f"--address {address}: no Ray cluster answers there") from None


def _request(node: Node) -> str:
    cpus, gpus = (int(number) if number % 1 == 0 else number for number in node)
    return f"{plural(cpus, 'CPU core')} and {plural(gpus, 'GPU')}"


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's reactions to signals, which Ray replaces: on Ctrl-C the trainings are to save."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
