"""A run in memory, and its training from the newest checkpoint to the end."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from rescale import machine
from rescale.data import Data, Loading, LoadingFailed
from rescale.errors import JobError
from rescale.execution import ExecutionMode
from rescale.models import External
from rescale.models.start import StartingWeights
from rescale.network import Network
from rescale.outputs import RUN_FILE
from rescale.processes import Processes
from rescale.recipes import Recipe
from rescale.tasks import task_of
from rescale.training import checkpoint
from rescale.training.assemble import assemble
from rescale.training.feed import Feed, Stopped
from rescale.training.loop import TrainingLoop
from rescale.training.progress import Display
from rescale.training.run import Run, Settings
from rescale.training.stop import StopRequest

PATIENCE = 1.0  # seconds in which a second signal is the first: Slurm's, and what its job passes on


@dataclass(frozen=True)
class Job:
    """Everything that a run needs, in memory, so that its folder is not read again.

    Args:
        run: the folder.
        facts: content of run.json.
        described: the model, as a value.
        recipe: the resolved recipe.
        data: the data, with the run's normalisation.
        weights: initial weights of a new run; a resumed run takes them from its checkpoints.
    """

    run: Run
    facts: Mapping[str, Any]
    described: Network | External
    recipe: Recipe
    data: Data
    weights: StartingWeights | None = None


def train_to_end(job: Job, quiet: bool, processes: Processes) -> Run:
    """Train to the end, from the newest checkpoint or from the beginning, in a folder that is locked."""
    run = job.run
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest(patience=5.0 if processes.connected else PATIENCE))
        is_new = processes.from_first(lambda: not (run.path / RUN_FILE).is_file())
        if is_new and job.weights is None:
            processes.from_first(lambda: run.mark(job.facts))
        loop = make_loop(job, stop, quiet, processes)
        with loop.display:
            try:
                loop.start(processes.from_first(lambda: checkpoint.newest(run.path / "checkpoints")))
                if is_new and job.weights is not None:
                    loop.save()  # first, so that no run resumes from newly initialised weights
                    processes.from_first(lambda: run.mark(job.facts))
                loop.train()
                loop.finish()
            except Stopped as signal:
                loop.save()
                raise Stopped(
                    f"{signal}: stopped and saved at step {loop.position.step}; "
                    f"resume with: rescale train --resume {run.path}"
                ) from None
            except LoadingFailed as error:
                loop.save()
                raise LoadingFailed(
                    f"{error}; stopped and saved at step {loop.position.step}; "
                    f"resume with: rescale train --resume {run.path} --workers {loop.settings.workers // 2}"
                ) from None
            except torch.OutOfMemoryError:
                raise _out_of_memory(run) from None
            finally:
                loop.close()
    return run


def make_loop(job: Job, stop: StopRequest, quiet: bool, processes: Processes) -> TrainingLoop:
    """Assemble the training loop of a run; sets this process's threads and device."""
    facts, recipe, described, data = job.facts, job.recipe, job.described, job.data
    settings = Settings(**facts["settings"])
    machine.keep_memory()
    same_count = facts.get("processes", 1) == processes.count
    machine.set_threads(settings.threads if same_count else processes.share_of_cores())
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


def _out_of_memory(run: Run) -> JobError:
    """The error for a full GPU memory. It is not sent to the other processes: they are waiting for this one's
    gradients until torchrun notices that it has ended."""
    parts = 2 * run.recipe.accumulate
    error = JobError(
        f"{run.path}: the GPU's memory is full; start again with --set accumulate={parts}, "
        f"or with --fast channels_last+checkpointing"
    )
    error.already_reported = True
    return error
