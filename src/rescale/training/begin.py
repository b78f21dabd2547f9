"""Begin a run, or go on with one."""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from rescale import machine
from rescale.data import Data, batches, open_data
from rescale.data.augment import eval_transform
from rescale.errors import JobError, UserError
from rescale.execution import ExecutionMode
from rescale.files import locked
from rescale.models import External
from rescale.models.execute import check_mode
from rescale.network import Network
from rescale.recipes import Recipe, Resolved, resolve
from rescale.tasks import Classification
from rescale.training.evaluate import evaluate
from rescale.training.loop import Job, Stopped
from rescale.training.processes import Processes, join
from rescale.training.run import FORMAT, Run, Settings, check_new
from rescale.training.stop import StopRequest

# From a model, its resolved recipe, the number of training images, the settings and the number of processes:
# recipe and settings, faster.
Choose = Callable[[Network | External, Resolved, int, Settings, int], tuple[Resolved, Settings]]


def train(
    model: Network | External,
    recipe: Recipe | Resolved,
    data: Data | str,
    out: str | Path,
    *,
    seed: int = 0,
    settings: Settings = Settings(),
    choose: Choose | None = None,
    quiet: bool = False,
) -> Run:
    """Train a model by a recipe on data, into a new run folder.

    The head gets the data's classes. Everything that can be known to be wrong is a UserError before
    training; a JobError on the way leaves a folder that `resume` goes on with. choose: gives the run's
    precision and execution mode, once all is checked. Under torchrun its processes share each batch, and
    the first of them writes.
    """
    processes = join()
    return processes.together(
        lambda: _begin(model, recipe, data, Path(out), seed, settings, choose, quiet, processes)
    )


def _begin(
    model: Network | External,
    recipe: Recipe | Resolved,
    data: Data | str,
    out: Path,
    seed: int,
    settings: Settings,
    choose: Choose | None,
    quiet: bool,
    processes: Processes,
) -> Run:
    processes.from_first(lambda: check_new(out))
    machine.chosen_device(settings.device)
    check_mode(model, ExecutionMode.parse(settings.fast), settings.device)
    settings = replace(settings, threads=settings.threads or processes.share_of_cores())
    device = processes.take_device(settings.device)
    if not isinstance(recipe, Resolved):
        recipe = resolve(recipe, model, native_bf16=machine.native_bf16(device))
    if isinstance(data, str):
        data = open_data(data, on_bad_image=settings.on_bad_image, minival=float(recipe.recipe.minival))
    model = model.with_classes(len(data.classes))
    check_batch(recipe.recipe, len(data.train), processes.count)
    if choose is not None:
        given = (model, recipe, len(data.train), settings, processes.count)
        recipe, settings = processes.from_first(lambda: choose(*given))
    facts = {
        "format": FORMAT,
        "identity": identity(model, recipe.recipe, data, seed),
        "seed": seed,
        "data": data.spec,
        "data_digest": data.digest,
        "settings": asdict(settings),
        "processes": processes.count,
        "notes": list(recipe.notes),
        "machine": machine.describe(device),
    }
    run = processes.from_first(lambda: Run.create(out, model, recipe, data.manifest(), facts))
    return _go_on(run, data, quiet, processes)


def resume(path: str | Path, *, quiet: bool = False) -> Run:
    """Go on with a run from its newest whole checkpoint; a finished run is returned as it is."""
    processes = join()
    return processes.together(lambda: _reopen(Path(path), quiet, processes))


def _reopen(path: Path, quiet: bool, processes: Processes) -> Run:
    run = processes.from_first(lambda: Run.open(path))
    if processes.from_first(lambda: run.result is not None):
        return run
    facts, recipe, manifest = processes.from_first(lambda: (run.facts, run.recipe, run.data))
    if facts["format"] != FORMAT:
        raise UserError(f"{path}: written in format {facts['format']}; this version reads {FORMAT}")
    settings = facts["settings"]
    try:
        machine.chosen_device(settings["device"])
    except UserError:
        raise UserError(
            f"{path}: was begun on {settings['device']}, which this machine does not have; "
            f"go on with it on one that has"
        ) from None
    data = open_data(facts["data"], on_bad_image=settings["on_bad_image"], minival=float(recipe.minival))
    if data.digest != facts["data_digest"]:
        raise UserError(
            f"{path}: the data in {facts['data']} is not what the run began with: "
            f"{_difference(manifest, data.manifest())}; put it back, or start a new run"
        )
    check_batch(recipe, len(data.train), processes.count)
    return _go_on(run, data, quiet, processes)


def check_batch(recipe: Recipe, images: int, processes: int = 1) -> None:
    """Refuse a batch that the data cannot fill, or that cannot be split as asked."""
    if recipe.batch > images:
        raise UserError(
            f"batch {recipe.batch} is larger than the {images} training images; "
            f"use --set batch={max(1, images // 2)} or less"
        )
    if recipe.batch % recipe.accumulate:
        raise UserError(
            f"batch {recipe.batch} cannot be taken in {recipe.accumulate} equal parts; change accumulate"
        )
    if recipe.batch % (parts := recipe.accumulate * processes):
        raise UserError(
            f"batch {recipe.batch} cannot be shared equally by {processes} processes"
            f"{f' in {recipe.accumulate} micro-batches each' * (recipe.accumulate > 1)}; "
            f"use --set batch={max(1, recipe.batch // parts) * parts}"
        )


def identity(model: Network | External, recipe: Recipe, data: Data, seed: int) -> str:
    """What makes two runs the same: network, resolved recipe, data and seed; not names, not precision."""
    text = "\n".join((model.identity, recipe.identity_text(), data.digest, str(seed)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _go_on(run: Run, data: Data, quiet: bool, processes: Processes) -> Run:
    with ExitStack() as held:
        processes.from_first(lambda: held.enter_context(locked(run.path)))
        stop = held.enter_context(StopRequest(patience=5.0 if processes.connected else 0.0))
        job = Job(run, data, stop, quiet, processes)
        with job.display:
            try:
                job.start()
                job.train()
                job.finish()
            except Stopped:
                job.save()
                raise
            except torch.OutOfMemoryError:
                raise _full(run) from None
            finally:
                job.close()
    return run


def _full(run: Run) -> JobError:
    """A GPU's memory is full. Other processes are not told: they wait for this one's gradients, until
    torchrun sees it end."""
    parts = 2 * run.recipe.accumulate
    error = JobError(
        f"{run.path}: the GPU's memory is full; start anew with --set accumulate={parts}, "
        f"or with --fast channels_last+checkpointing"
    )
    error.already_reported = True
    return error


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The first entries in which two manifests differ."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return "; ".join(
        f"{key} was {str(before.get(key))[:60]}, is {str(now.get(key))[:60]}" for key in keys[:3]
    )


def evaluate_run(
    run: Run,
    data: str | None = None,
    *,
    recipe: Recipe | None = None,
    resolution: int | None = None,
    device: str = "cpu",
    workers: int = 0,
    on_bad_image: str = "raise",
) -> dict[str, Any]:
    """Top-1, top-5 and loss of a finished run's weights on its validation images or on other data.

    recipe: the run's with changes, of which evaluation uses interpolation, eval_crop, precision and batch.
    Other data must have the run's classes.
    """
    recipe = recipe or run.recipe
    source = data or run.facts["data"]
    opened = open_data(source, on_bad_image=on_bad_image, minival=0.0)
    classes = tuple(run.data["classes"])
    if opened.classes != classes:
        strange = sorted(set(opened.classes) ^ set(classes))
        raise UserError(f"{source}: its classes are not the run's; not in both: {', '.join(strange[:5])}")
    described = run.model if resolution is None else run.model.at(resolution)
    machine.use_device(machine.chosen_device(device))
    mean, std = run.data["mean"], run.data["std"]  # what the weights were trained with
    task = Classification(tuple(mean), tuple(std), device=device)
    stream = batches(
        opened.val,
        eval_transform(recipe, described.resolution),
        batch=recipe.batch // recipe.accumulate,
        seed=0,
        epoch=0,
        workers=workers,
        shuffle=False,
        drop_last=False,
        on_bad_image=on_bad_image,
        device=device,
    )
    model = run.load().to(device).to(memory_format=torch.channels_last)
    figures = evaluate(model, task, stream, device=device, precision=recipe.precision)
    return {"data": source, "resolution": described.resolution, **figures}
