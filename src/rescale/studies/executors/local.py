"""Trainings on this machine, in parallel processes that share its cores and GPUs."""

import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rescale import machine
from rescale.studies.executors.executor import Division, Ending, Job, Settings
from rescale.studies.executors.process import start

MOST_BY_DEFAULT = 8  # parallel trainings on a CPU


class LocalWorker:
    """A training's process on this machine. gpu: the only GPU that it sees; empty if it sees all."""

    def __init__(self, process: "subprocess.Popen[bytes]", gpu: str = "") -> None:
        self.process, self.gpu = process, gpu

    def ended(self) -> Ending | None:
        code = self.process.poll()
        return None if code is None else Ending(code)

    def stop(self) -> None:
        self.process.terminate()

    def wait(self) -> Ending:
        return Ending(self.process.wait())


class LocalExecutor:
    """Trainings on this machine. With several GPUs, each training sees the one that has the fewest."""

    def __init__(self) -> None:
        self.gpus: Sequence[str] = ()
        self.workers: list[LocalWorker] = []

    def __enter__(self) -> "LocalExecutor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.workers.clear()

    def divide(self, settings: Settings, missing: int) -> Division:
        device = settings.device or machine.default_device()
        jobs, threads = parallel(settings, missing)
        self.gpus = gpus_to_share(device)
        return Division(jobs, threads, device)

    def start(self, jobs: Sequence[Job]) -> list[LocalWorker]:
        return [self._start(job) for job in jobs]

    def _start(self, job: Job) -> LocalWorker:
        self.workers = [worker for worker in self.workers if worker.ended() is None]
        gpu = least_used(self.gpus, [worker.gpu for worker in self.workers])
        worker = LocalWorker(start(job, {"CUDA_VISIBLE_DEVICES": gpu} if gpu else None), gpu)
        self.workers.append(worker)
        return worker


def parallel(settings: Settings, missing: int) -> tuple[int, int]:
    """How many of the missing trainings run at a time on this machine, and the CPU threads of each."""
    jobs = settings.jobs or default_jobs(settings.device or machine.default_device(), missing)
    return jobs, max(1, machine.cores() // jobs)


def default_jobs(device: str, missing: int) -> int:
    """On GPUs a training for each of them; on a CPU one for each core, at most eight."""
    places = max(1, len(gpus_to_share(device))) if device.startswith("cuda") else machine.cores()
    return max(1, min(places, missing, MOST_BY_DEFAULT if device == "cpu" else places))


def gpus_to_share(device: str) -> list[str]:
    """The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them; none if the device is not all of them."""
    if device != "cuda":
        return []
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    named = [name.strip() for name in visible.split(",")] if visible else [str(n) for n in range(count)]
    return named[:count] if count > 1 else []


def least_used(gpus: Sequence[str], used: Sequence[str]) -> str:
    """The first of the GPUs that the fewest trainings use; empty if there are none to share."""
    counts = Counter(used)
    return min(gpus, key=lambda gpu: counts[gpu], default="")
