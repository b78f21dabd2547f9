"""What a run is about, in memory, and its way from the newest checkpoint to its end."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from rescale import machine
from rescale.data import Data, Loading
from rescale.errors import JobError
from rescale.execution import ExecutionMode
from rescale.files import locked
from rescale.models import External
from rescale.models.start import StartingWeights
from rescale.network import Network
from rescale.processes import Processes
from rescale.recipes import Recipe
from rescale.tasks import task_of
from rescale.training import checkpoint
from rescale.training.assemble import assemble
from rescale.training.feed import Feed, Stopped
from rescale.training.loop import TrainingLoop
from rescale.training.progress import Display
from rescale.training.run import MARK, Run, Settings
from rescale.training.stop import StopRequest


@dataclass(frozen=True)
class Job:
    """What a run is about, in memory: a folder need not be read again for it.

    Args:
        run: the folder.
        facts: run.json.
        described: what is trained.
        recipe: resolved.
        data: normalised as the run does.
        weights: what a new run starts from; a resumed run has them in its checkpoints.
    """

    run: Run
    facts: Mapping[str, Any]
    described: Network | External
    recipe: Recipe
    data: Data
    weights: StartingWeights | None = None


def carry_on(job: Job, quiet: bool, processes: Processes) -> Run:
    """Train from the newest checkpoint, or from the beginning, to the end."""
    run = job.run
    with ExitStack() as entered:
        processes.from_first(lambda: entered.enter_context(locked(run.path)))
        stop = entered.enter_context(StopRequest(patience=5.0 if processes.connected else 0.0))
        is_new = processes.from_first(lambda: not (run.path / MARK).is_file())
        if is_new and job.weights is None:
            processes.from_first(lambda: run.mark(job.facts))
        loop = make_loop(job, stop, quiet, processes)
        with loop.display:
            try:
                loop.start(processes.from_first(lambda: checkpoint.newest(run.path / "checkpoints")))
                if is_new and job.weights is not None:
                    loop.save()  # before it is a run, so that none resumes from newly drawn weights
                    processes.from_first(lambda: run.mark(job.facts))
                loop.train()
                loop.finish()
            except Stopped as signal:
                loop.save()
                raise Stopped(
                    f"{signal}: stopped and saved at step {loop.position.step}; "
                    f"resume with: rescale train --resume {run.path}"
                ) from None
            except torch.OutOfMemoryError:
                raise _full(run) from None
            finally:
                loop.close()
    return run


def make_loop(job: Job, stop: StopRequest, quiet: bool, processes: Processes) -> TrainingLoop:
    """The parts of a run and the loop over them; sets this process's threads and device."""
    facts, recipe, described, data = job.facts, job.recipe, job.described, job.data
    settings = Settings(**facts["settings"])
    machine.keep_memory()
    as_started = facts.get("processes", 1) == processes.count
    machine.set_threads(settings.threads if as_started else processes.share_of_cores())
    device = processes.take_device(settings.device)
    machine.use_device(device)
    stepper, notes = assemble(
        described,
        recipe,
        task_of(recipe, data),
        len(data.train) // recipe.batch,
        seed=facts["seed"],
        mode=ExecutionMode.parse(settings.fast),
        device=device,
        processes=processes,
        sync_bn=settings.sync_bn,
        weights=job.weights,
    )
    display = Display(
        described.name,
        recipe.total_steps(stepper.steps_per_epoch),
        stepper.steps_per_epoch,
        stepper.task.headline,
        quiet or not processes.first,
    )
    loading = Loading(
        batch=recipe.batch // recipe.accumulate,
        seed=facts["seed"],
        workers=settings.workers,
        on_bad_image=settings.on_bad_image,
        device=device,
    )
    feed = Feed(
        stepper.task,
        described.resolution,
        loading,
        recipe.accumulate,
        processes,
        stop,
        lambda line: display.note(f"skipped: {line}"),
    )
    return TrainingLoop(
        job.run,
        facts,
        described,
        recipe,
        settings,
        data,
        stepper.task,
        stepper,
        feed,
        processes,
        display,
        notes,
    )


def _full(run: Run) -> JobError:
    """A GPU's memory is full. Other processes are not told: they wait for this one's gradients, until
    torchrun sees it end."""
    parts = 2 * run.recipe.accumulate
    error = JobError(
        f"{run.path}: the GPU's memory is full; start again with --set accumulate={parts}, "
        f"or with --fast channels_last+checkpointing"
    )
    error.already_reported = True
    return error
