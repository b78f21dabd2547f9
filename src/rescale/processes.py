"""The processes that train one network together: who this one is, and what they tell each other.

They stay together by one rule. Where a process may fail or be asked to stop by itself, all of them next call
`synchronize`: through `take` in the loop, through `together` around everything. So whoever raises tells the
others, all raise the same error at the same place, and nobody waits for one who has left.
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
from rescale.errors import JobError, UserError

T = TypeVar("T")
SILENCE = timedelta(minutes=30)  # how long one process may keep the others waiting: while it measures, say


class Status(NamedTuple):
    """What a process has to say: that it failed, was asked to stop (by which signal), met damaged images."""

    error: UserError | JobError | None = None
    asked: str = ""
    bad: tuple[str, ...] = ()


@dataclass(frozen=True)
class Processes:
    """This process among those of a run. Alone, everything here returns at once what it was given.

    rank: 0 .. count - 1 over all machines; the first one writes. local_rank, local_count: on this machine.
    parent: process id of the torchrun that began this one, 0 outside torchrun.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    parent: int = 0

    @property
    def connected(self) -> bool:
        """Did torchrun begin this process?"""
        return self.parent != 0

    @property
    def first(self) -> bool:
        """Is this the one that writes and speaks?"""
        return self.rank == 0

    @property
    def deserted(self) -> JobError | None:
        """What to say where the torchrun that began this process is gone."""
        if self.connected and os.getppid() != self.parent:
            return JobError("torchrun has ended; stopped without saving. Go on from the last checkpoint")
        return None

    def synchronize(self, mine: Status) -> list[Status]:
        """What the processes have to say, by rank; most often nobody has anything, and that is quick.

        Raises the first error among it, marked as one that all processes raise.
        """
        if self.connected:
            said = torch.tensor([any(mine)], dtype=torch.uint8)
            dist.all_reduce(said, dist.ReduceOp.MAX)
            words = self.gather(mine) if said.item() else []
        else:
            words = [mine]
        for word in words:
            if word.error:
                raise _marked(word.error)
        return words

    def gather(self, mine: T) -> list[T]:
        """Everyone's value, by rank."""
        if not self.connected:
            return [mine]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, mine)
        return found

    def sums(self, *numbers: float) -> list[float]:
        """Each number added up over the processes."""
        if not self.connected:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def together(self, work: Callable[[], T]) -> T:
        """Do the same work; an error that any of the processes raises, the first by rank, all raise."""
        if not self.connected:
            return work()
        made: T | None = None
        error: UserError | JobError | None = None
        try:
            try:
                made = work()
            except (UserError, JobError) as raised:
                if raised.already_reported:
                    raise
                error = raised
            self.synchronize(Status(error))
        except RuntimeError as raised:
            if not _connection_lost(raised):
                raise
            raise _marked(JobError("another process of this run has ended; torchrun says which")) from None
        return made  # type: ignore[return-value]

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, on all of them."""
        if not self.connected:
            return make()
        box = [self.together(lambda: make() if self.first else None)]
        dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]

    def take_device(self, asked: str) -> str:
        """The device of this process: of a machine's GPUs each process has the one of its number."""
        if not self.connected or not asked.startswith("cuda"):
            return asked
        if asked != "cuda":
            raise UserError(f"--device {asked}: torchrun's processes have a GPU each; use --device cuda")
        if self.local_count > (gpus := torch.cuda.device_count()):
            raise UserError(
                f"{self.local_count} processes on a machine with {gpus} GPUs; "
                f"use torchrun --nproc-per-node {gpus}, or --device cpu"
            )
        return f"cuda:{self.local_rank}"

    def share_of_cores(self) -> int:
        """CPU threads for this process: those of a machine never use more than its cores."""
        return max(1, machine.cores() // self.local_count)

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module, its gradients averaged over the processes in the backward pass."""
        if not self.connected:
            return module
        with warnings.catch_warnings():  # its newer name for this comes after torch 2.11
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(module, broadcast_buffers=False)

    def reducing(self, module: nn.Module, last: bool) -> AbstractContextManager:
        """Around a micro-batch's two passes: only a step's last one averages the gradients."""
        if last or not isinstance(module, DistributedDataParallel):
            return nullcontext()
        return module.no_sync()


ALONE = Processes()


def join() -> Processes:
    """The processes that torchrun began with this one, connected until it ends; or this one alone.

    Small things travel by gloo, gradients on GPUs by NCCL.
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
    """Is this the process that writes: alone, or torchrun's first?"""
    return not dist.is_initialized() or dist.get_rank() == 0


def _marked(error: UserError | JobError) -> UserError | JobError:
    """Mark an error that all processes raise, so that none tells the others once more."""
    error.already_reported = True
    return error


def _connection_lost(error: RuntimeError) -> bool:
    """gloo raises plain RuntimeErrors, which name its source files."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
