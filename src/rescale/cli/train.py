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
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with this run.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order, augmentation and dropout.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda; without it a GPU if there is one.")] = "",
    fast: Annotated[
        str,
        typer.Option(
            help="How it is run: auto (measured, where the run is long), or channels_last or contiguous, "
            "with +compile, +graphs, +checkpointing."
        ),
    ] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of a process; 0: its share of cores.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load images; 0: load in this one.")] = 0,
    save_minutes: Annotated[float, typer.Option(min=0, help="Minutes between checkpoints.")] = 2.0,
    eval_epochs: Annotated[int, typer.Option(min=1, help="Epochs between evaluations.")] = 1,
    on_bad_image: Annotated[
        str, typer.Option(help="raise: stop at a damaged image; skip: count it and go on.")
    ] = "raise",
    sync_bn: Annotated[
        bool, typer.Option("--sync-bn", help="Under torchrun: batch norm sees the images of all processes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a network by a recipe, into a run folder that can be stopped and resumed exactly.

    Example: rescale train resnetrs50@160 --data path/to/images --set epochs=10 --out runs/rs50
    With several GPUs: torchrun --nproc-per-node 4 -m rescale train ..., the rest as ever.
    """
    from functools import partial

    from rescale import machine
    from rescale.bench.for_run import choose_for_run
    from rescale.errors import UserError
    from rescale.execution import USUAL
    from rescale.models import model_named
    from rescale.recipes import recipe as recipe_named
    from rescale.recipes import with_changes
    from rescale.training import Settings, is_first_process
    from rescale.training import resume as go_on
    from rescale.training import train as begin

    if resume is not None:
        if model or data or changes or out:
            raise UserError(
                "--resume takes everything from the run's folder; leave out model, --data, --set, --out"
            )
        run = go_on(resume)
    else:
        missing = [
            what for what, given in (("a model", model), ("--data", data), ("--out", out)) if not given
        ]
        if not model or not data or not out:
            raise UserError(
                f"{' and '.join(missing)} missing; as in: rescale train resnetrs50 --data images --out runs/a"
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
        chosen = with_changes(recipe_named(recipe), changes or [])
        choose = partial(choose_for_run, precision=chosen.precision) if fast == "auto" else None
        run = begin(model_named(model), chosen, data, out, seed=seed, settings=settings, choose=choose)
    if not is_first_process():
        return
    result = run.result or {}
    if as_json:
        print(json.dumps([result], indent=1))
        return
    for line in result["not_applied"]:
        print(f"note: {line}")
    print(
        f"{run.path}: {result['model']} reached {result['top1']:.2f} % top-1 "
        f"({'averaged weights' if result['averaged'] else 'raw weights'}; raw {result['top1_raw']:.2f} %) "
        f"on {result['val_images']} images, {result['epochs']} epochs in {result['seconds']:.0f} s"
    )


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    data: Annotated[str, typer.Option(help="Other data of the same classes; without it the run's own.")] = "",
    resolution: Annotated[int, typer.Option(min=0, help="Another input size; 0: the run's.")] = 0,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="As in train, of what evaluation uses: interpolation, eval_crop, precision, batch.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load images.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "",
    on_bad_image: Annotated[str, typer.Option(help="raise or skip.")] = "raise",
    as_json: Json = False,
) -> None:
    """Judge a run's weights on its validation images, or on other data.

    Example: rescale eval runs/rs50 --data path/to/other/images
    """
    from rescale import machine
    from rescale.recipes import with_changes
    from rescale.training import Run, evaluate_run

    opened = Run.open(run)
    figures = evaluate_run(
        opened,
        data or None,
        recipe=with_changes(opened.recipe, changes or []),
        resolution=resolution or None,
        device=machine.chosen_device(device),
        workers=workers,
        on_bad_image=_one_of("--on-bad-image", on_bad_image, ("raise", "skip")),
    )
    if as_json:
        print(json.dumps([{"run": str(run), **figures}], indent=1))
    else:
        print(
            f"{run}: {figures['top1']:.2f} % top-1, {figures['top5']:.2f} % top-5, "
            f"loss {figures['loss']:.4f} on {figures['images']} images of {figures['data']}"
        )


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    from rescale.errors import UserError

    if value not in choices:
        raise UserError(f"{option} {value}: use {' or '.join(choices)}")
    return value
