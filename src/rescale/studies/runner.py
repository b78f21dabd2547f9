"""Run the missing parts of a study: parallel trainings, each in its own process; then timings, one by one."""

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from rescale import machine
from rescale.bench import Ask, Server, Timing, TimingProtocol, time_network
from rescale.errors import JobError, UserError
from rescale.execution import USUAL
from rescale.files import locked
from rescale.studies.configuration import Configuration
from rescale.studies.display import Display
from rescale.studies.folder import Failure, StudyFolder
from rescale.studies.plan import Item, Plan, file_name
from rescale.studies.sharing import take_over
from rescale.training.run import Run
from rescale.training.stop import STOPPED, StopRequest

ATTEMPTS = 2  # a worker that was killed is started once more, and resumes
POLL = 0.2  # seconds between checks of the workers


class Worker(Protocol):
    """A training process, with the interface of subprocess.Popen."""

    def poll(self) -> int | None:
        """The exit code; None while it runs; below zero if a signal ended it."""

    def terminate(self) -> None:
        """Tell it to save and stop."""

    def wait(self) -> int:
        """The exit code, once it has ended."""


@dataclass(frozen=True)
class Settings:
    """How to train on this machine; changes no result. jobs: parallel trainings; None for `default_jobs`.

    device: of the trainings, None for a GPU if there is one. on_bad_image: raise or skip.
    eval_epochs: epochs between evaluations; the last epoch always has one. workers: processes of each
    training that load images. The execution mode is that of the plan's timing.
    """

    jobs: int | None = None
    device: str | None = None
    on_bad_image: str = "raise"
    eval_epochs: int = 1
    workers: int = 0


Start = Callable[[StudyFolder, Item, Settings, int], Worker]
TimeLabel = Callable[[StudyFolder, str, Ask], Timing]


def run_study(
    path: Path,
    plan: Plan,
    settings: Settings | None = None,
    *,
    progress: bool = True,
    configurations: Mapping[str, Configuration] | None = None,
    start: Start | None = None,
    time_label: TimeLabel | None = None,
) -> StudyFolder:
    """Run everything of the plan that `path` does not hold yet.

    A failed network is stored among the failures and does not stop the others; the next call tries it again.
    On SIGTERM or Ctrl-C the trainings save and JobError is raised; the next call continues from there.

    Args:
        path: the study's folder.
        plan: what to run.
        settings: how to train on this machine.
        progress: show bars or lines.
        configurations: what the runs of each label train (`Checked.configurations`). With them, finished runs
            of the other studies beside this folder are taken over where they are equal.
        start: starts a training.
        time_label: times a network.

    Raises:
        UserError: the folder holds another study, or runs by other rules, or another process works on it.
    """
    settings = settings or Settings()
    StudyFolder(path).check_available(plan, configurations)
    path.mkdir(parents=True, exist_ok=True)
    with locked(path), StopRequest() as stop, Display(plan, shown=progress) as display:
        StudyFolder(path).keep_plan(plan, configurations)
        study = StudyFolder(path)
        display.taken_over(take_over(study, configurations or {}))
        train_missing(study, settings, start or start_training, stop, display)
        time_missing(study, time_label or time_as_trained, stop, display)
    return study


def default_jobs(device: str, missing: int) -> int:
    """On a CPU one training for each core, at most eight; on a GPU one."""
    return 1 if device.startswith("cuda") else max(1, min(machine.cores(), missing, 8))


def parallel(settings: Settings, missing: int) -> tuple[int, int]:
    """How many of the missing trainings run at a time, and the CPU threads of each."""
    jobs = settings.jobs or default_jobs(settings.device or machine.default_device(), missing)
    return jobs, max(1, machine.cores() // jobs)


def train_missing(
    study: StudyFolder, settings: Settings, start: Start, stop: StopRequest, display: Display
) -> None:
    """Train every run that has no result, in the plan's order, `jobs` at a time."""
    waiting = deque(item for item in study.plan.items if study.result(item) is None)
    jobs, threads = parallel(settings, len(waiting))
    running: dict[Item, Worker] = {}
    attempts: dict[Item, int] = {}
    display.begin(len(study.plan.items) - len(waiting))
    try:
        while waiting or running:
            _raise_if_stopped(stop)
            while waiting and len(running) < jobs:
                item = waiting.popleft()
                attempts[item] = attempts.get(item, 0) + 1
                study.forget_failure(item.name)
                running[item] = start(study, item, settings, threads)
                display.started(item, study.run(item))
            for item in [item for item, worker in running.items() if worker.poll() is not None]:
                if not settled(study, item, running.pop(item).wait(), attempts[item], display):
                    waiting.appendleft(item)
            display.tick()
            if running:
                time.sleep(POLL)
    finally:
        for worker in running.values():
            worker.terminate()
        for worker in running.values():
            worker.wait()


def settled(study: StudyFolder, item: Item, code: int, attempts: int, display: Display) -> bool:
    """Record how a worker ended, by its exit code and result; false if it should be started again."""
    result = study.result(item)
    if result is not None:
        display.finished(item, result)
        return True
    if (code <= 0 or code == STOPPED) and attempts < ATTEMPTS:  # killed, or stopped by someone else
        display.again(item)
        return False
    failure = Failure("training", item.label, item.seed, _reason(study, item, code), attempts)
    study.keep_failure(item.name, failure)
    display.failed(failure)
    return True


def time_missing(study: StudyFolder, time_label: TimeLabel, stop: StopRequest, display: Display) -> None:
    """Time every network that has a finished run and no timing, one by one, while nothing else runs.

    Labels of the same network get one timing, that of the first label.
    """
    networks, timed = study.networks(), study.timings()
    first = {network: label for label, network in reversed(networks.items()) if label not in timed}
    labels = [label for label in networks if label in first.values()]
    for label in networks:  # a failure of another label of the same network has no later attempt
        study.forget_failure(_timing_name(label))
    with Server() as server:
        for number, label in enumerate(labels, start=1):
            _raise_if_stopped(stop)
            display.timing(label, number, len(labels))
            try:
                timing = time_label(study, label, server)
            except (UserError, JobError) as error:
                _raise_if_stopped(stop)
                failure = Failure("timing", label, None, str(error))
                study.keep_failure(_timing_name(label), failure)
                display.failed(failure)
            else:
                study.keep_timing(label, timing)


def start_training(study: StudyFolder, item: Item, settings: Settings, threads: int) -> Worker:
    """Start a process that trains the run, or resumes it; its output goes to the run's log."""
    job = {
        "item": asdict(item),
        "out": str(study.run(item)),
        "settings": {
            "device": settings.device or machine.default_device(),
            "threads": threads,
            "on_bad_image": settings.on_bad_image,
            "eval_epochs": settings.eval_epochs,
            "workers": settings.workers,
            "fast": mode_of_training(study.plan.timing),
        },
        "parent": os.getpid(),
    }
    log = study.log(item)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "rescale.studies.worker", json.dumps(job)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # Ctrl-C reaches only this process, which then stops the workers
        )


def mode_of_training(timing: TimingProtocol) -> str:
    """The execution mode of the trainings: that of the timed step, or the default if that is measured.

    Trainings run beside each other, so nothing can be measured for them.
    """
    return str(USUAL) if timing.fast == "auto" else timing.fast


def time_as_trained(study: StudyFolder, label: str, ask: Ask) -> Timing:
    """Time a network as its first finished run trained it: its classes, its resolved recipe."""
    item = next(item for item in study.results() if item.label == label)
    run = Run.open(study.run(item))
    return time_network(run.model, study.plan.timing, run.recipe, ask)


def _timing_name(label: str) -> str:
    return f"timing-{file_name(label)}"


def _raise_if_stopped(stop: StopRequest) -> None:
    if stop.signal_name:
        raise JobError(f"stopped by {stop.signal_name}; repeat the command to continue")


def _reason(study: StudyFolder, item: Item, code: int) -> str:
    """Why a worker ended: its last line of output, or the signal."""
    if code < 0:
        return f"killed by signal {-code} {ATTEMPTS} times (memory full?)"
    try:
        lines = study.log(item).read_text(errors="replace").split("\n")
    except OSError:
        lines = []
    printed = [line.strip() for line in lines if line.strip()]
    return printed[-1] if printed else f"ended with exit code {code}"
