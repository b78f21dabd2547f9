"""The Typer application: all commands and their names."""

import os
from collections.abc import Callable
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
    report,
    scaling,
    search,
    show,
    studies,
    study_list,
    train,
    weights,
)
from rescale.cli.help import Command, Group
from rescale.errors import UserError
from rescale.studies.kinds import KINDS

app = typer.Typer(
    name="rescale",
    cls=Group,
    help="Design, scale, train and time vision networks, and see them on one speed-accuracy Pareto curve.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"rescale {rescale.__version__}")
        raise typer.Exit


@app.callback()
def _about(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if "TORCHELASTIC_RUN_ID" in os.environ and context.invoked_subcommand != "train":
        raise UserError(f"torchrun is for rescale train; run rescale {context.invoked_subcommand} without it")


study = typer.Typer(cls=Group, invoke_without_command=True, rich_markup_mode=None)
study.callback()(study_list.about_studies)
for kind in KINDS:
    study.command(kind, cls=Command, help=studies.help_of(kind))(studies.study_of_kind)
study.command("run", cls=Command)(studies.run)

COMMANDS: dict[str, dict[str, Callable[..., None]]] = {  # by the groups of rescale --help
    "Start": {"quickstart": quickstart.quickstart},
    "Networks": {
        "models": models.models,
        "cost": models.cost,
        "show": show.show,
        "scale": scaling.scale,
        "search": search.search,
    },
    "Training": {
        "recipes": recipes.recipes,
        "train": train.train,
        "eval": train.evaluate,
        "import": weights.import_weights,
        "export-weights": weights.export_weights,
    },
    "Time": {"bench": bench.bench, "calibrate": calibrate.calibrate},
    "Studies": {"report": report.report},
}
for group, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, cls=Command, rich_help_panel=group)(command)
app.add_typer(data.app, name="data", rich_help_panel="Training")
app.add_typer(study, name="study", rich_help_panel="Studies")
