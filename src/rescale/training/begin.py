"""Begin a run, or go on with one."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rescale import machine
from rescale.data import Data, batches, open_data
from rescale.data.augment import eval_transform
from rescale.errors import UserError
from rescale.fast import FastMode
from rescale.models import External
from rescale.models.execute import check_mode
from rescale.network import Network
from rescale.recipes import Recipe, Resolved, resolve
from rescale.tasks import Classification
from rescale.training.evaluate import evaluate
from rescale.training.loop import Job, Stopped
from rescale.training.run import FORMAT, Run, Settings, check_new
from rescale.training.stop import StopRequest

# From a model, its resolved recipe, the number of training images and the settings: the last two, faster.
Choose = Callable[[Network | External, Resolved, int, Settings], tuple[Resolved, Settings]]


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
    precision and fast mode, once all is checked.
    """
    out = Path(out)
    check_new(out)
    check_mode(model, FastMode.parse(settings.fast), settings.device)
    if not isinstance(recipe, Resolved):
        recipe = resolve(recipe, model, native_bf16=machine.native_bf16(settings.device))
    if isinstance(data, str):
        data = open_data(data, on_bad_image=settings.on_bad_image, minival=float(recipe.recipe.minival))
    model = model.with_classes(len(data.classes))
    check_batch(recipe.recipe, len(data.train))
    if choose is not None:
        recipe, settings = choose(model, recipe, len(data.train), settings)
    facts = {
        "format": FORMAT,
        "identity": identity(model, recipe.recipe, data, seed),
        "seed": seed,
        "data": data.spec,
        "data_digest": data.digest,
        "settings": asdict(settings) | {"threads": settings.threads or machine.cores()},
        "notes": list(recipe.notes),
        "machine": machine.describe(settings.device),
    }
    run = Run.create(out, model, recipe, data.manifest(), facts)
    return _go_on(run, data, quiet)


def resume(path: str | Path, *, quiet: bool = False) -> Run:
    """Go on with a run from its newest whole checkpoint; a finished run is returned as it is."""
    run = Run.open(Path(path))
    if run.result is not None:
        return run
    facts = run.facts
    if facts["format"] != FORMAT:
        raise UserError(f"{path}: written in format {facts['format']}; this version reads {FORMAT}")
    settings = facts["settings"]
    data = open_data(facts["data"], on_bad_image=settings["on_bad_image"], minival=float(run.recipe.minival))
    if data.digest != facts["data_digest"]:
        raise UserError(
            f"{path}: the data in {facts['data']} is not what the run began with: "
            f"{_difference(run.data, data.manifest())}; put it back, or start a new run"
        )
    return _go_on(run, data, quiet)


def check_batch(recipe: Recipe, images: int) -> None:
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


def identity(model: Network | External, recipe: Recipe, data: Data, seed: int) -> str:
    """What makes two runs the same: network, resolved recipe, data and seed; not names, not precision."""
    chosen = recipe.model_dump_json(exclude={"name", "precision"})
    text = "\n".join((model.identity, chosen, data.digest, str(seed)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _go_on(run: Run, data: Data, quiet: bool) -> Run:
    with run.lock(), StopRequest() as stop:
        job = Job(run, data, stop, quiet)
        with job.display:
            try:
                job.start()
                job.train()
                job.finish()
            except Stopped:
                job.save()
                raise
            finally:
                job.close()
    return run


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
    )
    model = run.load().to(device).to(memory_format=torch.channels_last)
    figures = evaluate(model, task, stream, device=device, precision=recipe.precision)
    return {"data": source, "resolution": described.resolution, **figures}
