"""The trainings of a study: start what is missing, resume what was killed, record what failed."""

import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rescale.bench import TimingProtocol
from rescale.errors import JobError
from rescale.execution import USUAL
from rescale.outputs import CHECKPOINTS
from rescale.studies.commands import weights_of
from rescale.studies.display import Display
from rescale.studies.executors.executor import Division, Ending, Executor, Job, Settings, Worker
from rescale.studies.folder import Failure, StudyFolder
from rescale.studies.plan import Item
from rescale.training.stop import BUSY, StopRequest

ATTEMPTS = 2  # ends in a row without a new checkpoint, after which a killed training has failed
POLL = 0.2  # seconds between checks of the workers
WAIT, MOST_WAIT = 5.0, 300.0  # seconds until a run that another process writes to is tried again: doubled


@dataclass
class Attempts:
    """What was tried to train one run.

    starts: of its process. in_vain: ends in a row that left no new checkpoint. step: of the newest checkpoint
    at the last start. busy: ends in a row because another process writes to the run. not_before: the time of
    the next start, as time.monotonic.
    """

    starts: int = 0
    in_vain: int = 0
    step: int = -1
    busy: int = 0
    not_before: float = 0.0


class Trainings:
    """The missing trainings of a study, on an executor that has been entered."""

    def __init__(self, study: StudyFolder, settings: Settings, executor: Executor, display: Display) -> None:
        self.study, self.settings, self.executor, self.display = study, settings, executor, display
        self.waiting: deque[Item] = deque()
        self.running: dict[Item, Worker] = {}
        self.attempts: dict[Item, Attempts] = {}

    def run(self, missing: list[Item], stop: StopRequest) -> None:
        """Train the runs in their order. Raises JobError on a signal, after all trainings have saved."""
        division = self.executor.divide(self.settings, len(missing))
        self.waiting.extend(missing)
        try:
            while self.waiting or self.running:
                raise_if_stopped(stop)
                self._start(division)
                for item, worker in list(self.running.items()):
                    if (ending := worker.ended()) is not None:
                        del self.running[item]
                        self._settle(item, ending)
                self.display.tick()
                if self.running or self.waiting:
                    time.sleep(POLL)
        finally:
            for worker in self.running.values():
                worker.stop()
            for worker in self.running.values():
                worker.wait()

    def _start(self, division: Division) -> None:
        """Start as many of the waiting runs as the executor takes, together: Slurm makes an array of them."""
        now = time.monotonic()
        self._give_up_what_needs_a_failed_run()
        ready = [
            item
            for item in self.waiting
            if self._attempts(item).not_before <= now and self._has_what_it_needs(item)
        ]
        items = ready[: max(0, division.at_a_time - len(self.running))]
        if not items:
            return
        for item in items:
            self.waiting.remove(item)
            self.study.forget_failure(item.name)
            attempts = self._attempts(item)
            attempts.starts += 1
            attempts.step = newest_step(self.study.run(item))
        jobs = [job_of(self.study, item, self.settings, division) for item in items]
        for item, worker in zip(items, self.executor.start(jobs), strict=True):
            self.running[item] = worker
            self.display.started(item, self.study.run(item))

    def _has_what_it_needs(self, item: Item) -> bool:
        """Whether the run that it starts from, if there is one, has finished."""
        needed = self.study.plan.needed(item)
        return needed is None or self.study.result(needed) is not None

    def _give_up_what_needs_a_failed_run(self) -> None:
        """Record a failure for each waiting run that starts from one that has ended without a result."""
        for item in list(self.waiting):
            needed = self.study.plan.needed(item)
            ended = needed is not None and needed not in self.waiting and needed not in self.running
            if needed is not None and ended and self.study.result(needed) is None:
                self.waiting.remove(item)
                reason = f"starts from {needed.name}, which has not finished"
                failure = Failure("training", item.label, item.seed, reason)
                self.study.keep_failure(item.name, failure)
                self.display.failed(failure)

    def _settle(self, item: Item, ending: Ending) -> None:
        """Record how a training has ended, by its result first; what something else ended is tried again."""
        result = self.study.result(item)
        if result is not None:
            self.display.finished(item, result)
            return
        attempts = self._attempts(item)
        if ending.code == BUSY:
            attempts.busy += 1
            attempts.not_before = time.monotonic() + min(MOST_WAIT, WAIT * 2 ** (attempts.busy - 1))
            self.waiting.append(item)
            self.display.again(item, "another process trains it; waiting for it")
            return
        attempts.busy = 0
        advanced = newest_step(self.study.run(item)) > attempts.step
        attempts.in_vain = 0 if advanced else attempts.in_vain + 1
        if ending.from_outside and attempts.in_vain < ATTEMPTS:
            self.waiting.appendleft(item)
            self.display.again(item, f"{_manner(ending)}; it is resumed")
            return
        reason = reason_of(self.study, item, ending)
        failure = Failure("training", item.label, item.seed, reason, attempts.starts)
        self.study.keep_failure(item.name, failure)
        self.display.failed(failure)

    def _attempts(self, item: Item) -> Attempts:
        return self.attempts.setdefault(item, Attempts())


def job_of(study: StudyFolder, item: Item, settings: Settings, division: Division) -> Job:
    """The process that trains a run, or resumes it."""
    task: dict[str, Any] = {
        "item": asdict(item),
        "out": str(study.run(item).absolute()),
        "weights": weights_of(study.plan, item, study.path.absolute() / "runs"),
        "settings": {
            "device": division.device,
            "threads": division.threads,
            "on_bad_image": settings.on_bad_image,
            "eval_epochs": settings.eval_epochs,
            "workers": settings.workers,
            "fast": mode_of_training(study.plan.timing),
        },
    }
    return Job(item.name, task, study.log(item).absolute(), Path.cwd(), division.threads)


def mode_of_training(timing: TimingProtocol) -> str:
    """The execution mode of the trainings: that of the timed step, or the default if that is measured.

    Trainings run beside each other, so nothing can be measured for them.
    """
    return str(USUAL) if timing.fast == "auto" else timing.fast


def newest_step(run: Path) -> int:
    """The steps taken at a run's newest checkpoint; -1 if it has none."""
    names = [path.name.removeprefix("step-") for path in (run / CHECKPOINTS).glob("step-*")]
    return max((int(name) for name in names if name.isdecimal()), default=-1)


def raise_if_stopped(stop: StopRequest) -> None:
    """Raise JobError after a signal."""
    if stop.signal_name:
        raise JobError(f"stopped by {stop.signal_name}; repeat the command to continue")


def reason_of(study: StudyFolder, item: Item, ending: Ending) -> str:
    """Why a training has failed, in a line: how it was ended from outside, or the last line of its output."""
    if ending.from_outside and ending.code != 0:
        cause = f" ({ending.reason})" if ending.reason else " (memory full?)" if ending.code else ""
        return f"{_manner(ending)} {ATTEMPTS} times in a row without a new checkpoint{cause}"
    if ending.reason:
        return ending.reason
    try:
        lines = study.log(item).read_text(errors="replace").split("\n")
    except OSError:
        lines = []
    printed = [line.strip() for line in lines if line.strip()]
    return printed[-1] if printed else f"ended with exit code {ending.code}"


def _manner(ending: Ending) -> str:
    if ending.code is None:
        return "its process vanished"
    if ending.code < 0:
        return f"its process was killed by signal {-ending.code}"
    return "its process was stopped" if ending.code else "its process ended without a result"
