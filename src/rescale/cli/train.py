"""rescale train, rescale eval."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rescale.cli.models import Json


def train(
    model: Annotated[
        str | None, typer.Argument(help="A name, a network file, timm:NAME or python:module:function.")
    ] = None,
    data: Annotated[
        str, typer.Option(help="digits, or a folder of images, CIFAR, tar shards or Parquet.")
    ] = "",
    recipe: Annotated[
        str, typer.Option(help="A recipe's name or file (rescale recipes lists them).")
    ] = "resnet-rs",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe; repeat for more."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder, new or empty.")] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="Initial weights: a model folder, a run, a file of weights, or pretrained (timm's)."
        ),
    ] = "",
    freeze: Annotated[str, typer.Option(help="backbone: train only the classifier (linear probe).")] = "",
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Continue this run; give --data if its data has moved."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed of weights, order, augmentation and dropout.")
    ] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda; default: a GPU if this machine has one.")] = "",
    fast: Annotated[
        str,
        typer.Option(
            help="Execution mode: auto (measured if the run is long), or channels_last or contiguous, "
            "with +compile, +graphs, +checkpointing."
        ),
    ] = "auto",
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads per process; 0: its share of the cores.")
    ] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load images; 0: the main process.")] = 0,
    save_minutes: Annotated[float, typer.Option(min=0, help="Minutes between checkpoints.")] = 2.0,
    eval_epochs: Annotated[int, typer.Option(min=1, help="Epochs between evaluations.")] = 1,
    on_bad_image: Annotated[
        str, typer.Option(help="raise: stop at a damaged image; skip: count it and continue.")
    ] = "raise",
    sync_bn: Annotated[
        bool, typer.Option("--sync-bn", help="Under torchrun: batch norm over the images of all processes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a network by a recipe, in a run folder; a stopped run resumes exactly.

    Example: rescale train resnetrs50@160 --data path/to/images --set epochs=10 --out runs/rs50
    With several GPUs: torchrun --nproc-per-node 4 -m rescale train ...
    """
    from functools import partial

    from rescale import machine
    from rescale.bench.for_run import choose_for_run
    from rescale.errors import UserError
    from rescale.execution import USUAL
    from rescale.figure import Figure
    from rescale.models import model_named
    from rescale.recipes import recipe as recipe_named
    from rescale.recipes import with_changes
    from rescale.training import Settings, is_first_process
    from rescale.training import resume as continue_run
    from rescale.training import train as begin

    if resume is not None:
        if model or changes or out or weights or freeze:
            raise UserError(
                "--resume takes everything from the run's folder; leave out the model and all options but "
                "--data, which gives the new place of moved data"
            )
        run = continue_run(resume, data=data or None)
    else:
        missing = [
            name for name, value in (("a model", model), ("--data", data), ("--out", out)) if not value
        ]
        if not model or not data or not out:
            raise UserError(
                f"{' and '.join(missing)} missing, as in: rescale train resnetrs50 --data images --out runs/a"
            )
        settings = Settings(
            device=machine.chosen_device(device),
            threads=threads,
            workers=workers,
            save_minutes=save_minutes,
            eval_epochs=eval_epochs,
            on_bad_image=_one_of("--on-bad-image", on_bad_image, ("raise", "skip")),
            sync_bn=sync_bn,
            fast=str(USUAL) if fast == "auto" else fast,
        )
        frozen = [f"freeze={freeze}"] if freeze else []
        chosen = with_changes(recipe_named(recipe), [*(changes or []), *frozen])
        choose = partial(choose_for_run, precision=chosen.precision) if fast == "auto" else None
        run = begin(
            model_named(model),
            chosen,
            data,
            out,
            seed=seed,
            settings=settings,
            weights=weights,
            choose=choose,
        )
    if not is_first_process():
        return
    result = run.result or {}
    if as_json:
        print(json.dumps([result], indent=1))
        return
    for line in result["not_applied"]:
        print(f"note: {line}")
    figure = Figure(**result["headline"])
    print(
        f"{run.path}: {result['model']}: {figure.text(result['figures'][figure.name])} "
        f"({'averaged weights' if result['averaged'] else 'raw weights'}; raw "
        f"{figure.number(result['raw'][figure.name])}) on {result['val_images']} images, "
        f"{result['epochs']} epochs in {result['seconds']:.0f} s"
    )


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A finished run, or a model folder.")],
    data: Annotated[
        str, typer.Option(help="Other data, with classes matched by name; default: the run's own.")
    ] = "",
    resolution: Annotated[int, typer.Option(min=0, help="Another input size; 0: the folder's.")] = 0,
    evaluator: Annotated[
        list[str] | None,
        typer.Option(help="top-k, knn or linear (of frozen features); repeat for more. Default: top-k."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a value used in evaluation: interpolation, eval_crop, orientation, white, "
            "precision, batch.",
        ),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Also write the prediction for each image, as Parquet.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load images.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "",
    on_bad_image: Annotated[str, typer.Option(help="raise or skip.")] = "raise",
    as_json: Json = False,
) -> None:
    """Evaluate the weights of a run or a model folder on validation images.

    Example: rescale eval runs/rs50 --data path/to/other/images
    """
    from rescale import machine
    from rescale.recipes import with_changes
    from rescale.training import evaluate_folder, recipe_for

    figures, notes = evaluate_folder(
        folder,
        data,
        recipe=with_changes(recipe_for(folder), changes or []),
        resolution=resolution or None,
        device=machine.chosen_device(device),
        workers=workers,
        on_bad_image=_one_of("--on-bad-image", on_bad_image, ("raise", "skip")),
        evaluators=evaluator or (),
        predictions=predictions,
    )
    if as_json:
        print(json.dumps([{"folder": str(folder), **figures, "notes": notes}], indent=1))
        return
    for note in notes:
        print(f"note: {note}")
    values = {name: value for name, value in figures.items() if isinstance(value, float)}
    about = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    print(f"{folder}: {about} on {figures['images']} images of {figures['data']}")


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    from rescale.errors import UserError

    if value not in choices:
        raise UserError(f"{option} {value}: use {' or '.join(choices)}")
    return value
