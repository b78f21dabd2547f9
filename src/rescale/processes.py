"""The processes that train one network together: their ranks and their communication.

One rule keeps them in step. After any work in which a single process may fail or be told to stop, all of them
call `synchronize`: through `take` in the training loop, through `together` elsewhere. So an error in one
process reaches the others, all raise it at the same place, and none waits for a process that has ended.
"""

import atexit
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rescale import machine
from rescale.errors import JobError, UserError, plural

T = TypeVar("T")
SILENCE = timedelta(minutes=30)  # maximum wait for another process, for example while it measures


class Status(NamedTuple):
    """What a process reports to the others.

    error: why it failed. signal_name: of the signal that told it to stop. bad: lines on damaged images.
    """

    error: UserError | JobError | None = None
    signal_name: str = ""
    bad: tuple[str, ...] = ()


@dataclass(frozen=True)
class Processes:
    """This process among those of a run. In a single process, every method returns at once.

    rank: 0 .. count - 1 over all machines; rank 0 writes. local_rank, local_count: on this machine.
    parent: process id of the torchrun that started this process, 0 outside torchrun.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    parent: int = 0

    @property
    def connected(self) -> bool:
        """Did torchrun start this process?"""
        return self.parent != 0

    @property
    def first(self) -> bool:
        """Is this rank 0, which writes and prints?"""
        return self.rank == 0

    @property
    def orphaned(self) -> JobError | None:
        """The error to raise if the torchrun that started this process has ended, else None."""
        if self.connected and os.getppid() != self.parent:
            return JobError("torchrun has ended; stopped without saving; resume from the last checkpoint")
        return None

    def synchronize(self, mine: Status) -> list[Status]:
        """The statuses by rank; the list may be empty if no process has anything to report.

        Raises the first error by rank, marked as one that all processes raise.
        """
        if self.connected:
            reported = torch.tensor([any(mine)], dtype=torch.uint8)
            dist.all_reduce(reported, dist.ReduceOp.MAX)  # cheap: most steps have nothing to report
            statuses = self.gather(mine) if reported.item() else []
        else:
            statuses = [mine]
        for status in statuses:
            if status.error:
                raise _marked(status.error)
        return statuses

    def gather(self, mine: T) -> list[T]:
        """The value of every process, by rank."""
        if not self.connected:
            return [mine]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, mine)
        return values

    def sums(self, *numbers: float) -> list[float]:
        """Sum each number over the processes."""
        if not self.connected:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def together(self, work: Callable[[], T]) -> T:
        """Do the same work in all processes. If any of them fails, all raise the first error by rank."""
        if not self.connected:
            return work()
        result: T | None = None
        error: UserError | JobError | None = None
        try:
            try:
                result = work()
            except (UserError, JobError) as raised:
                if raised.already_reported:
                    raise
                error = raised
            self.synchronize(Status(error))
        except RuntimeError as raised:
            if not _connection_lost(raised):
                raise
            raise _marked(JobError("another process of this run has ended; torchrun says which")) from None
        return result  # type: ignore[return-value]

    def from_first(self, make: Callable[[], T]) -> T:
        """Call `make` in the first process, and return its result in all of them."""
        if not self.connected:
            return make()
        box = [self.together(lambda: make() if self.first else None)]
        dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]

    def take_device(self, device: str) -> str:
        """The device of this process. Each process uses the GPU whose number is its local rank."""
        if not self.connected or not device.startswith("cuda"):
            return device
        if device != "cuda":
            raise UserError(f"--device {device}: torchrun gives each process its own GPU; use --device cuda")
        if self.local_count > (gpus := torch.cuda.device_count()):
            raise UserError(
                f"{self.local_count} processes on a machine with {plural(gpus, 'GPU')}; "
                f"use torchrun --nproc-per-node {gpus}, or --device cpu"
            )
        return f"cuda:{self.local_rank}"

    def share_of_cores(self) -> int:
        """CPU threads for this process: the machine's cores divided by its processes, at least 1."""
        return max(1, machine.cores() // self.local_count)

    def parallel(self, module: nn.Module) -> nn.Module:
        """Wrap the module so that the backward pass averages gradients over the processes."""
        if not self.connected:
            return module
        with warnings.catch_warnings():  # the new name of this option needs a torch after 2.11
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(module, broadcast_buffers=False)

    def reducing(self, module: nn.Module, last: bool) -> AbstractContextManager:
        """Context of a micro-batch's two passes: gradients are averaged only in the last of a step."""
        if last or not isinstance(module, DistributedDataParallel):
            return nullcontext()
        return module.no_sync()


ALONE = Processes()


def join() -> Processes:
    """Connect to the other processes of torchrun, until this process ends; outside torchrun, ALONE.

    CPU tensors and objects use gloo, gradients on GPUs use NCCL.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ALONE
    if not dist.is_initialized():
        on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=SILENCE)
        atexit.register(dist.destroy_process_group)
    local_rank, local_count = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    return Processes(dist.get_rank(), dist.get_world_size(), local_rank, local_count, os.getppid())


def is_first_process() -> bool:
    """Is this the process that writes: the only one, or rank 0?"""
    return not dist.is_initialized() or dist.get_rank() == 0


def _marked(error: UserError | JobError) -> UserError | JobError:
    """Mark an error that all processes raise, so that none reports it again."""
    error.already_reported = True
    return error


def _connection_lost(error: RuntimeError) -> bool:
    """Is the connection lost? gloo raises plain RuntimeErrors that name its source files."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
