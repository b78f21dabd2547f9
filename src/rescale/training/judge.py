"""Evaluate the weights of a finished run, or of any model folder, on a data set."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rescale import machine
from rescale.data import Batch, DataSpec, Loading, Source, decoding_of, open_data
from rescale.errors import UserError
from rescale.execution import USUAL
from rescale.models.execute import LAYOUTS, place
from rescale.models.folder import ModelFolder
from rescale.outputs import RUN_FILE
from rescale.preprocess import IMAGENET_MEAN, IMAGENET_STD, Decoding, Preprocess
from rescale.recipes import Recipe, changed
from rescale.tasks import task_of
from rescale.training.evaluate import evaluate
from rescale.training.predictions import write_predictions
from rescale.training.run import Run

BATCH = 64  # for a folder without a recipe


class Judgement(NamedTuple):
    """figures: values by name, with `data` and `resolution`. notes: assumptions, one line each."""

    figures: dict[str, Any]
    notes: list[str]


def evaluate_folder(
    path: str | Path,
    data: str | DataSpec = "",
    *,
    recipe: Recipe | None = None,
    resolution: int | None = None,
    device: str = "cpu",
    workers: int = 0,
    on_bad_image: str = "raise",
    evaluators: Sequence[str] = (),
    predictions: Path | None = None,
) -> Judgement:
    """Evaluate a model's weights on the validation part of a data set.

    Args:
        path: a finished run, or a model folder that `rescale import` wrote.
        data: a reference, a built-in name or a path; the run's own data if empty.
        recipe: `recipe_for(path)` with changes; evaluation uses interpolation, eval_crop, orientation, white,
            precision and batch.
        resolution: input size in pixels; None for that of the folder.
        device: cpu, cuda or cuda:N.
        workers: processes that load images.
        on_bad_image: `raise` or `skip`.
        evaluators: names of evaluators; by default those of the task's headline figure.
        predictions: a Parquet file to write, with one row per image.

    Raises:
        UserError: the folder holds no finished model; its outputs cannot be matched to the data's classes.
    """
    path = Path(path)
    folder = ModelFolder.open(path)
    if not data and not (path / RUN_FILE).is_file():
        raise UserError(f"{path}: is no run, so it has no data of its own; give --data")
    spec = DataSpec.of(data or Run.open(path).facts["data"])
    recipe = recipe or recipe_for(path)
    preprocess, notes = _preprocess(folder)
    opened = open_data(spec, on_bad_image=on_bad_image, decoding=_decoding(recipe, preprocess))
    if not len(opened.val):
        raise UserError(f"{spec}: no images to evaluate on; give them as --val PATH")
    notes = [*opened.notes, *notes]
    described = folder.model if resolution is None else folder.model.at(resolution)
    machine.use_device(machine.chosen_device(device))
    task = task_of(recipe, opened.normalised(preprocess.mean, preprocess.std))
    task = task.placed(device, LAYOUTS[USUAL.layout])
    module, chosen = folder.load(), task.evaluators(evaluators)
    if any(evaluator.uses_outputs for evaluator in chosen):
        module, matched = task.judged(module, preprocess.labels)
        notes += matched
    loading = Loading(
        batch=recipe.batch // recipe.accumulate,
        workers=workers,
        training=False,
        on_bad_image=on_bad_image,
        device=device,
    )
    damaged: set[str] = set()

    def stream(source: Source) -> Iterator[Batch]:
        for batch in task.stream(source, described.resolution, loading):
            damaged.update(batch.bad)
            if batch.count:
                yield batch

    evaluation = evaluate(
        place(module.eval(), USUAL, device),
        task,
        stream(opened.val),
        precision=str(recipe.precision),
        evaluators=chosen,
        train=lambda: stream(opened.train),
    )
    notes += [f"skipped: {line}" for line in sorted(damaged)]
    if predictions is not None:
        write_predictions(predictions, opened.val, evaluation.predictions)
    figures = {"data": str(spec), "resolution": described.resolution, **evaluation.figures}
    return Judgement(figures, notes)


def recipe_for(path: str | Path) -> Recipe:
    """The recipe to evaluate a folder: the run's, or else one with the folder's crop and interpolation."""
    if (Path(path) / RUN_FILE).is_file():
        return Run.open(Path(path)).recipe
    preprocess, _ = _preprocess(ModelFolder.open(Path(path)))
    precision = "bf16" if machine.native_bf16(machine.default_device()) else "fp32"
    values = {
        "name": "evaluation",
        "batch": BATCH,
        "precision": precision,
        "eval_crop": min(1.0, preprocess.crop),
        "interpolation": preprocess.interpolation,
        "orientation": preprocess.orientation,
    }
    return changed(Recipe(), values)


def _decoding(recipe: Recipe, preprocess: Preprocess) -> Decoding:
    """How images are decoded: as for the model, with the orientation and the white that a recipe sets."""
    ranges = decoding_of(recipe).ranges or preprocess.ranges
    return Decoding(recipe.orientation, ranges)


def _preprocess(folder: ModelFolder) -> tuple[Preprocess, list[str]]:
    """The folder's preprocessing, or ImageNet's constants and a note that they are assumed."""
    if (preprocess := folder.preprocess) is not None:
        return preprocess, []
    assumed = Preprocess(IMAGENET_MEAN, IMAGENET_STD, folder.model.resolution)
    return assumed, ["the folder has no preprocess.json: ImageNet's mean and deviation are assumed"]
