"""What an executor is: it starts trainings somewhere, and says how each has ended.

The state of a training is its run folder. A worker that is started again continues from the newest
checkpoint, so an executor keeps no state that a study needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from rescale.training.stop import STOPPED


@dataclass(frozen=True)
class Settings:
    """How to train; changes no result. jobs: parallel trainings; None for as many as there is room for.

    device: of the trainings on this machine, None for a GPU if there is one. on_bad_image: raise or skip.
    eval_epochs: epochs between evaluations; the last epoch always has one. workers: processes of each
    training that load images. The execution mode is that of the plan's timing.
    """

    jobs: int | None = None
    device: str | None = None
    on_bad_image: str = "raise"
    eval_epochs: int = 1
    workers: int = 0


@dataclass(frozen=True)
class Division:
    """How an executor shares its cores and GPUs among trainings.

    at_a_time: trainings that it takes at a time. threads: CPU threads of each. device: cpu, cuda or cuda:N.
    """

    at_a_time: int
    threads: int
    device: str


@dataclass(frozen=True)
class Job:
    """A training as a process of its own, which may run on another machine.

    name: unique in the study. task: the worker's instructions, as JSON. log: the file that receives the
    process's output. folder: its working directory. threads: its CPU threads.
    """

    name: str
    task: Mapping[str, Any]
    log: Path
    folder: Path
    threads: int


@dataclass(frozen=True)
class Ending:
    """How a training's process ended.

    code: its exit code, below zero if a signal ended it; None if it vanished with its machine or was removed
    from its cluster. reason: why, if the executor knows more than the log.
    """

    code: int | None
    reason: str = ""

    @property
    def from_outside(self) -> bool:
        """Whether something else ended it: it was killed, it vanished, or it was told to save and stop."""
        return self.code is None or self.code <= 0 or self.code == STOPPED


class Worker(Protocol):
    """A training that an executor has started or queued."""

    def ended(self) -> Ending | None:
        """How it ended; None while it runs or waits. Raises JobError if it can never run."""

    def stop(self) -> None:
        """Tell it to save and stop, without waiting for it."""

    def wait(self) -> Ending:
        """Wait until it has ended; called after `stop`."""


class Executor(Protocol):
    """A place where trainings run. It is entered before the first training and left after the last."""

    def __enter__(self) -> object:
        """Connect. Raises UserError if that is impossible."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; trainings that still run are stopped."""

    def divide(self, settings: Settings, missing: int) -> Division:
        """How the missing trainings share the place. Raises UserError if it can never run one of them."""

    def start(self, jobs: Sequence[Job]) -> Sequence[Worker]:
        """Start the jobs, or find those that an earlier driver of the same study has left running."""
