"""rescale train, rescale eval."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rescale.cli.data_options import TrainPart, ValPart, data_spec
from rescale.cli.help import EXECUTION
from rescale.cli.models import Json, network_names
from rescale.imports import faster_imports
from rescale.layout import note, wrapped

ON_BAD_IMAGE = ("raise", "skip")


def train(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A name, a network file, timm:NAME or python:module:function.", autocompletion=network_names
        ),
    ] = None,
    data: Annotated[
        str, typer.Option(help="digits, or a folder of images, CIFAR, tar shards or Parquet.")
    ] = "",
    train_part: TrainPart = "",
    val_part: ValPart = "",
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
    device: Annotated[
        str,
        typer.Option(help="cpu or cuda; default: a GPU if this machine has one.", rich_help_panel=EXECUTION),
    ] = "",
    fast: Annotated[
        str,
        typer.Option(
            help="Execution mode: auto (measured if the run is long), or channels_last or contiguous, "
            "with +compile, +graphs, +checkpointing.",
            rich_help_panel=EXECUTION,
        ),
    ] = "auto",
    threads: Annotated[
        int,
        typer.Option(
            min=0, help="CPU threads per process; 0: its share of the cores.", rich_help_panel=EXECUTION
        ),
    ] = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that load images; 0: the main process. Default: 0, or the resumed run's number.",
            rich_help_panel=EXECUTION,
        ),
    ] = None,
    save_minutes: Annotated[
        float, typer.Option(min=0, help="Minutes between checkpoints.", rich_help_panel=EXECUTION)
    ] = 2.0,
    eval_epochs: Annotated[
        int, typer.Option(min=1, help="Epochs between evaluations.", rich_help_panel=EXECUTION)
    ] = 1,
    on_bad_image: Annotated[
        str,
        typer.Option(
            help="raise: stop at a damaged image; skip: count it and continue.", rich_help_panel=EXECUTION
        ),
    ] = "raise",
    sync_bn: Annotated[
        bool,
        typer.Option(
            "--sync-bn",
            help="Under torchrun: batch norm over the images of all processes.",
            rich_help_panel=EXECUTION,
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a network by a recipe, in a run folder; a stopped run resumes exactly.

    Example: rescale train resnetrs50@160 --data path/to/images --set epochs=10 --out runs/rs50

    With several GPUs: torchrun --nproc-per-node 4 -m rescale train ...
    """
    from rescale.cli.early import (
        check_all,
        check_choice,
        check_data,
        check_model,
        check_recipe,
        check_run,
        check_weights,
    )
    from rescale.errors import UserError
    from rescale.execution import USUAL, ExecutionMode
    from rescale.outputs import check_new_run

    spec = data_spec(data, train_part, val_part)
    if resume is not None:
        if model or changes or out or weights or freeze:
            raise UserError(
                "--resume takes everything from the run's folder; leave out the model and all options but "
                "--data (or --train and --val), which give the new place of moved data, and --workers"
            )
        check_all(lambda: check_run(resume), lambda: check_data(spec))
    else:
        missing = [
            name for name, value in (("a model", model), ("--data", spec), ("--out", out)) if not value
        ]
        if not model or spec is None or not out:
            raise UserError(
                f"{' and '.join(missing)} missing, as in: rescale train resnetrs50 --data images --out runs/a"
            )
        all_changes = [*(changes or []), *([f"freeze={freeze}"] if freeze else [])]
        check_all(
            lambda: check_model(model),
            lambda: check_recipe(recipe, all_changes),
            lambda: check_data(spec),
            lambda: check_new_run(out),
            lambda: check_weights(weights) if weights else None,
            lambda: check_choice("--on-bad-image", on_bad_image, ON_BAD_IMAGE),
            lambda: fast == "auto" or ExecutionMode.parse(fast),
        )

    from functools import partial

    with faster_imports():
        from rescale import machine
        from rescale.bench.for_run import choose_for_run
        from rescale.models.start import model_to_train
        from rescale.training import Settings, is_first_process
        from rescale.training import resume as continue_run
        from rescale.training import train as begin

    if resume is not None:
        run = continue_run(resume, data=spec, workers=workers)
    else:
        assert model is not None and spec is not None and out is not None  # checked above
        settings = Settings(
            device=machine.chosen_device(device),
            threads=threads,
            workers=workers or 0,
            save_minutes=save_minutes,
            eval_epochs=eval_epochs,
            on_bad_image=on_bad_image,
            sync_bn=sync_bn,
            fast=str(USUAL) if fast == "auto" else fast,
        )
        chosen = check_recipe(recipe, all_changes)
        choose = partial(choose_for_run, precision=chosen.precision) if fast == "auto" else None
        run = begin(
            model_to_train(model, weights),
            chosen,
            spec,
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
    print(wrapped(summary(run.path, result), "  "))


def summary(path: Path, result: Mapping[str, Any]) -> str:
    """A finished run in a sentence. result: the content of its result.json."""
    from rescale.duration import clock
    from rescale.errors import plural
    from rescale.figure import Figure

    figure = Figure(**result["headline"])
    skipped = f"; {plural(result['bad_images'], 'damaged image')} skipped" if result["bad_images"] else ""
    return (
        f"{path}: {result['model']}: {figure.text(result['figures'][figure.name])} "
        f"({'averaged weights' if result['averaged'] else 'raw weights'}; raw "
        f"{figure.number(result['raw'][figure.name])}) on {plural(result['val_images'], 'image')}, "
        f"{plural(result['epochs'], 'epoch')} in {clock(result['seconds'])}{skipped}"
    )


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A finished run, or a model folder.")],
    data: Annotated[
        str, typer.Option(help="Other data, with classes matched by name; default: the run's own.")
    ] = "",
    train_part: Annotated[
        str, typer.Option("--train", metavar="PATH", help="With --val: training images, for knn and linear.")
    ] = "",
    val_part: Annotated[
        str, typer.Option("--val", metavar="PATH", help="Evaluate on all images there, such as a test part.")
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
    from rescale.cli.early import check_all, check_choice, check_data, check_folder

    spec = data_spec(data, train_part, val_part)
    check_all(
        lambda: check_folder(folder),
        lambda: check_data(spec),
        lambda: check_choice("--on-bad-image", on_bad_image, ON_BAD_IMAGE),
    )

    from rescale import machine
    from rescale.errors import plural
    from rescale.recipes import with_changes
    from rescale.training import evaluate_folder, recipe_for

    figures, notes = evaluate_folder(
        folder,
        spec or "",
        recipe=with_changes(recipe_for(folder), changes or []),
        resolution=resolution or None,
        device=machine.chosen_device(device),
        workers=workers,
        on_bad_image=on_bad_image,
        evaluators=evaluator or (),
        predictions=predictions,
    )
    if as_json:
        print(json.dumps([{"folder": str(folder), **figures, "notes": notes}], indent=1))
        return
    for line in notes:
        print(note(line))
    values = {name: value for name, value in figures.items() if isinstance(value, float)}
    about = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    print(wrapped(f"{folder}: {about} on {plural(figures['images'], 'image')} of {figures['data']}", "  "))
