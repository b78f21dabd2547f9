"""The Typer application: all commands and their names."""

import os
from typing import Annotated

import typer

import rescale
from rescale.cli import (
    bench,
    calibrate,
    data,
    models,
    quickstart,
    recipes,
    scaling,
    search,
    show,
    studies,
    train,
    weights,
)
from rescale.errors import UserError

app = typer.Typer(
    name="rescale",
    help="Design, scale, train and time vision networks, and see them on one speed-accuracy Pareto curve.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def _about(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"rescale {rescale.__version__}")
        raise typer.Exit
    if "TORCHELASTIC_RUN_ID" in os.environ and context.invoked_subcommand != "train":
        raise UserError(f"torchrun is for rescale train; run rescale {context.invoked_subcommand} without it")


study = typer.Typer(help="Train and compare many runs.", no_args_is_help=True, rich_markup_mode=None)
study.command("pareto")(studies.pareto)
study.command("run")(studies.run)

app.command("quickstart")(quickstart.quickstart)
app.command("models")(models.models)
app.command("cost")(models.cost)
app.command("show")(show.show)
app.command("scale")(scaling.scale)
app.command("search")(search.search)
app.command("recipes")(recipes.recipes)
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.command("eval")(train.evaluate)
app.command("import")(weights.import_weights)
app.command("export-weights")(weights.export_weights)
app.command("bench")(bench.bench)
app.command("calibrate")(calibrate.calibrate)
app.add_typer(study, name="study")
app.command("report")(studies.report)
