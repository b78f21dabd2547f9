"""Start a run, or resume one."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rescale import machine
from rescale.cost import lower_bound
from rescale.data import Data, DataSpec, decoded, decoding_of, open_data
from rescale.errors import UserError, plural
from rescale.execution import ExecutionMode
from rescale.files import locked, make_folder
from rescale.geometry import initialisation
from rescale.models import External, counted_cost
from rescale.models.execute import check_mode
from rescale.models.provenance import code_of
from rescale.models.start import StartingWeights, starting_weights
from rescale.network import Network
from rescale.outputs import check_new_run
from rescale.preprocess import Preprocess
from rescale.processes import Processes, join
from rescale.recipes import Recipe, Resolved, check_installed, held_out, resolve
from rescale.tasks import check_task, task_of
from rescale.training.job import Job, train_to_end
from rescale.training.norms import check_images
from rescale.training.run import BEHAVIOUR, FORMAT, FORMATS, Run, Settings

# Takes a model, its resolved recipe, the number of training images, the settings and the number of processes;
# returns recipe and settings with the chosen precision and execution mode.
Choose = Callable[[Network | External, Resolved, int, Settings, int], tuple[Resolved, Settings]]


def train(
    model: Network | External,
    recipe: Recipe | Resolved,
    data: Data | DataSpec | str,
    out: str | Path,
    *,
    seed: int = 0,
    settings: Settings = Settings(),
    weights: str = "",
    choose: Choose | None = None,
    quiet: bool = False,
) -> Run:
    """Train a model on data by a recipe, in a new run folder.

    Under torchrun its processes share each batch, and the first of them writes.

    Args:
        model: the model; its head gets the outputs that the data needs.
        recipe: the recipe; it is resolved if it is not yet.
        data: the data, or a reference, built-in name or path to open.
        out: a folder that is empty or does not exist.
        seed: of weights, order, augmentation and dropout.
        settings: how the run is executed.
        weights: initial weights: a model folder, a finished run, a file of weights, or `pretrained`; random
            if empty. Their normalisation replaces the data's.
        choose: chooses the run's precision and execution mode, after all checks.
        quiet: show nothing on standard error.

    Returns:
        The finished run.

    Raises:
        UserError: a mistake that can be detected before training.
        JobError: training fails; `resume` continues from the run folder.
    """
    processes = join()
    return processes.together(
        lambda: _begin(model, recipe, data, Path(out), seed, settings, weights, choose, quiet, processes)
    )


def _begin(
    model: Network | External,
    recipe: Recipe | Resolved,
    data: Data | DataSpec | str,
    out: Path,
    seed: int,
    settings: Settings,
    weights: str,
    choose: Choose | None,
    quiet: bool,
    processes: Processes,
) -> Run:
    processes.from_first(lambda: check_new_run(out))
    machine.chosen_device(settings.device)
    check_mode(model, ExecutionMode.parse(settings.fast), settings.device)
    settings = replace(settings, threads=settings.threads or processes.share_of_cores())
    device = processes.take_device(settings.device)
    plain = recipe.recipe if isinstance(recipe, Resolved) else recipe
    check_task(plain)
    check_installed(plain)
    start = starting_weights(weights, model) if weights else None
    if not isinstance(data, Data):
        data = open_data(
            data,
            on_bad_image=settings.on_bad_image,
            minival=held_out(plain, model),
            decoding=decoding_of(plain),
        )
    elif data.decoding.orientation != plain.orientation or plain.white:
        data = decoded(data, decoding_of(plain))
    check_parts(data)
    if not isinstance(recipe, Resolved):
        recipe = resolve(recipe, model, len(data.train), native_bf16=machine.native_bf16(device))
    notes = list(recipe.notes)
    if start is not None and start.preprocess is not None:
        data = data.normalised(start.preprocess.mean, start.preprocess.std)
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (data.mean, data.std))
        notes.append(f"normalised as the starting weights: mean {mean}, deviation {std}")
    elif data.has_imagenet_constants:
        notes.append(f"{data.spec.name}: normalised by ImageNet's mean and deviation, which are assumed")
    task = task_of(recipe.recipe, data)
    task.check(data)
    model = task.adapt(model, data)
    if uncounted := counted_cost(model).uncounted:  # raises UserError for images that it does not take
        notes.append(lower_bound(model.name, uncounted))
    check_batch(recipe.recipe, model, len(data.train), processes.count, settings.sync_bn)
    if choose is not None:
        arguments = (model, recipe, len(data.train), settings, processes.count)
        recipe, settings = processes.from_first(lambda: choose(*arguments))
    facts = {
        "format": FORMAT,
        "identity": identity(model, recipe.recipe, data.digest, seed, start),
        "seed": seed,
        "task": task.name,
        "headline": task.headline.as_json(),
        "data": data.spec.stored(),
        "data_digest": data.digest,
        "weights": start and {"source": start.source, "sha256": start.sha256, "averaged": start.averaged},
        "settings": asdict(settings),
        "processes": processes.count,
        "notes": notes,
        "code": {"behaviour": BEHAVIOUR, "model": code_of(model)},
        "machine": machine.describe(device),
    }
    chosen = recipe.recipe
    preprocess = Preprocess(
        data.mean,
        data.std,
        model.resolution,
        chosen.eval_crop,
        chosen.interpolation,
        task.outputs,
        data.decoding.orientation,
        data.decoding.ranges,
    )
    resolved, manifest = recipe, data.manifest()
    processes.from_first(lambda: make_folder(out))
    with _locked(out, processes):
        run = processes.from_first(lambda: Run.create(out, model, resolved, manifest, preprocess))
        return train_to_end(Job(run, facts, model, chosen, data, start), quiet, processes)


def resume(
    path: str | Path, *, data: str | DataSpec | None = None, workers: int | None = None, quiet: bool = False
) -> Run:
    """Continue a run from its newest complete checkpoint; a finished run is returned as it is.

    Args:
        path: the run's folder.
        data: where the run's data is now, if it was moved; it must be the same (equal digests).
        workers: processes that load images, which do not change the result; None for the run's own number.
        quiet: show nothing on standard error.

    Returns:
        The finished run.

    Raises:
        UserError: the folder is no run or has an unknown format; the run's device is missing; the data cannot
            be opened or has changed; the batch cannot be shared equally by the processes.
        JobError: training fails; `resume` can be called again.
    """
    processes = join()
    return processes.together(lambda: _reopen(Path(path), data, workers, quiet, processes))


def _reopen(
    path: Path, moved_to: str | DataSpec | None, workers: int | None, quiet: bool, processes: Processes
) -> Run:
    run = processes.from_first(lambda: Run.open(path))
    if processes.from_first(lambda: run.result is not None):
        return run
    facts, recipe, manifest = processes.from_first(lambda: (run.facts, run.recipe, run.data))
    if facts["format"] not in FORMATS:
        raise UserError(f"{path}: written in format {facts['format']}; this version reads up to {FORMAT}")
    if workers is not None:
        facts = {**facts, "settings": {**facts["settings"], "workers": workers}}
    settings = facts["settings"]
    try:
        machine.chosen_device(settings["device"])
    except UserError:
        raise UserError(
            f"{path}: was started on {settings['device']}, which this machine does not have; "
            f"resume it on one that has"
        ) from None
    spec = DataSpec.of(facts["data"] if moved_to is None else moved_to)
    preprocess, described = processes.from_first(lambda: (run.preprocess, run.model))
    data = open_data(
        spec,
        on_bad_image=settings["on_bad_image"],
        minival=float(recipe.minival),
        decoding=preprocess.decoding,
    )
    if data.digest != facts["data_digest"]:
        raise UserError(
            f"{path}: the data in {spec} is not what the run was started with: "
            f"{_difference(manifest, data.manifest())}; put it back, say where it is now with --data, or "
            f"start a new run"
        )
    check_batch(recipe, described, len(data.train), processes.count, settings["sync_bn"])
    data = data.normalised(preprocess.mean, preprocess.std)
    with _locked(path, processes):
        return train_to_end(Job(run, facts, described, recipe, data), quiet, processes)


def check_parts(data: Data) -> None:
    """Refuse data without training or without validation images, before anything is trained."""
    if not len(data.train):
        raise UserError(
            f"{data.spec}: only a validation part; give the training part: --train PATH --val PATH"
        )
    if not len(data.val):
        raise UserError(
            f"{data.spec}: no validation part, and no class has two images, so none can be held out; give "
            f"both parts: --train PATH --val PATH"
        )


@contextmanager
def _locked(path: Path, processes: Processes) -> Iterator[None]:
    """Lock the run's folder in the first process."""
    with ExitStack() as stack:
        processes.from_first(lambda: stack.enter_context(locked(path)))
        yield


def check_batch(
    recipe: Recipe,
    model: Network | External,
    images: int,
    processes: int = 1,
    sync_bn: bool = False,
) -> None:
    """Refuse a batch that the data cannot fill, that cannot be split into equal parts, or that is too small.

    Args:
        recipe: resolved.
        model: the model to train.
        images: number of training images.
        processes: number of processes that share a batch.
        sync_bn: batch norm sees the images of all processes.

    Raises:
        UserError: the batch is refused; the message says what would do.
    """
    if recipe.batch > images:
        raise UserError(
            f"batch {recipe.batch} is larger than the data ({plural(images, 'training image')}); "
            f"use --set batch={max(1, images // 2)} or less"
        )
    if recipe.batch % (parts := recipe.accumulate * processes):
        raise UserError(
            f"batch {recipe.batch} cannot be shared equally by {plural(processes, 'process')}"
            f"{f' in {recipe.accumulate} micro-batches each' * (recipe.accumulate > 1)}; "
            f"use --set batch={max(1, recipe.batch // parts) * parts}"
        )
    check_images(model, recipe, recipe.batch // (recipe.accumulate if sync_bn else parts))


def identity(
    model: Network | External,
    recipe: Recipe,
    data: str,
    seed: int,
    weights: StartingWeights | None = None,
) -> str:
    """Hash of what makes two runs the same: network, resolved recipe, data, seed and initial weights.

    Names and precision are left out.

    Args:
        model: with the outputs that the data needs.
        recipe: resolved.
        data: digest of the data.
        seed: of the run.
        weights: that it starts from; None for random ones.
    """
    parts = [model.identity, recipe.identity_text(), data, str(seed), *_unusual_initialisation(model)]
    if weights is not None:
        parts += [weights.sha256, f"averaged {weights.averaged}"]
    text = "\n".join(parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _unusual_initialisation(model: Network | External) -> list[str]:
    """The initialisation of a network's weights, unless it is that of named networks with such blocks."""
    if isinstance(model, External):
        return []
    inverted = all(stage.block == "inverted" for stage in model.stages)
    usual = "efficientnet" if inverted else initialisation(replace(model, init="auto"))
    return [f"init {chosen}"] if (chosen := initialisation(model)) != usual else []


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The first entries in which two manifests differ."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return "; ".join(
        f"{key} was {str(before.get(key))[:60]}, is {str(now.get(key))[:60]}" for key in keys[:3]
    )
