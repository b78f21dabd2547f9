"""Run the missing parts of a study: trainings on an executor, then timings on this machine, one by one."""

from collections.abc import Callable, Mapping
from pathlib import Path

from rescale.bench import Ask, Server, Timing, time_network
from rescale.errors import JobError, UserError
from rescale.files import locked
from rescale.studies.configuration import Configuration
from rescale.studies.display import Display
from rescale.studies.executors.executor import Executor, Settings
from rescale.studies.executors.local import LocalExecutor
from rescale.studies.folder import Failure, StudyFolder
from rescale.studies.plan import Plan, file_name
from rescale.studies.sharing import take_over
from rescale.studies.trainings import Trainings, raise_if_stopped
from rescale.training.run import Run
from rescale.training.stop import StopRequest

TimeLabel = Callable[[StudyFolder, str, Ask], Timing]


def run_study(
    path: Path,
    plan: Plan,
    settings: Settings | None = None,
    *,
    progress: bool = True,
    configurations: Mapping[str, Configuration] | None = None,
    executor: Executor | None = None,
    time_label: TimeLabel | None = None,
) -> StudyFolder:
    """Run everything of the plan that `path` does not hold yet: trainings on the executor, timings here.

    A failed network is stored among the failures and does not stop the others; the next call tries it again.
    On SIGTERM or Ctrl-C the trainings save and JobError is raised; the next call continues from there.

    Args:
        path: the study's folder.
        plan: what to run.
        settings: how to train on this machine.
        progress: show bars or lines.
        configurations: what the runs of each label train (`Checked.configurations`). With them, finished runs
            of the other studies beside this folder are taken over where they are equal.
        executor: where the trainings run; None for this machine.
        time_label: times a network.

    Raises:
        UserError: the folder holds another study, or runs by other rules, or another process works on it, or
            the executor cannot run the trainings.
    """
    settings = settings or Settings()
    StudyFolder(path).check_available(plan, configurations)
    path.mkdir(parents=True, exist_ok=True)
    with locked(path), StopRequest() as stop, Display(plan, shown=progress) as display:
        StudyFolder(path).keep_plan(plan, configurations)
        study = StudyFolder(path)
        display.taken_over(take_over(study, configurations or {}))
        train_missing(study, settings, executor or LocalExecutor(), stop, display)
        time_missing(study, time_label or time_as_trained, stop, display)
    return study


def train_missing(
    study: StudyFolder, settings: Settings, executor: Executor, stop: StopRequest, display: Display
) -> None:
    """Train every run that has no result. The executor is left before anything is timed."""
    missing = [item for item in study.plan.items if study.result(item) is None]
    display.begin(len(study.plan.items) - len(missing))
    if missing:
        with executor:
            Trainings(study, settings, executor, display).run(missing, stop)


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
            raise_if_stopped(stop)
            display.timing(label, number, len(labels))
            try:
                timing = time_label(study, label, server)
            except (UserError, JobError) as error:
                raise_if_stopped(stop)
                failure = Failure("timing", label, None, str(error))
                study.keep_failure(_timing_name(label), failure)
                display.failed(failure)
            else:
                study.keep_timing(label, timing)


def time_as_trained(study: StudyFolder, label: str, ask: Ask) -> Timing:
    """Time a network as its first finished run trained it: its classes, its resolved recipe."""
    item = next(item for item in study.results() if item.label == label)
    run = Run.open(study.run(item))
    return time_network(run.model, study.plan.timing, run.recipe, ask)


def _timing_name(label: str) -> str:
    return f"timing-{file_name(label)}"
