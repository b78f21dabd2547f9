"""rescale study KIND and rescale study run."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescale.cli.data_options import TrainPart, ValPart, data_spec
from rescale.cli.dry_run import DryRun, dry_run
from rescale.cli.executors import Address, Cpus, Gpus, On, Partition, Sbatch, TimeLimit, executor_of
from rescale.cli.help import EXECUTION, TIMING
from rescale.cli.models import Json
from rescale.cli.train import ON_BAD_IMAGE
from rescale.layout import note
from rescale.studies.kinds import KINDS

if TYPE_CHECKING:
    from rescale.studies import Plan, Settings
    from rescale.studies.configuration import Configuration
    from rescale.studies.executors.executor import Executor

Jobs = Annotated[
    int,
    typer.Option(
        min=0, help="Parallel trainings; 0: one per core, or one per GPU.", rich_help_panel=EXECUTION
    ),
]
Device = Annotated[
    str, typer.Option(help="cpu or cuda; default: a GPU if this machine has one.", rich_help_panel=EXECUTION)
]
LoadingWorkers = Annotated[
    int,
    typer.Option(
        min=0,
        help="Processes of each training that load images; 0: its main process.",
        rich_help_panel=EXECUTION,
    ),
]
EvalEpochs = Annotated[
    int, typer.Option(min=1, help="Epochs between evaluations.", rich_help_panel=EXECUTION)
]
BadImage = Annotated[
    str,
    typer.Option(
        help="raise: stop at a damaged image; skip: count it and continue.", rich_help_panel=EXECUTION
    ),
]


def study_of_kind(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES", help="Names, network files, folders of them or timm:NAME, separated by commas."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The study's folder; the same command continues it.")
    ] = None,
    data: Annotated[
        str, typer.Option(help="digits, or a folder of images, CIFAR, tar shards or Parquet.")
    ] = "",
    train_part: TrainPart = "",
    val_part: ValPart = "",
    preset: Annotated[
        str, typer.Option(help="tiny, small or paper: networks, recipe and lengths (rescale study --list).")
    ] = "",
    recipe: Annotated[
        list[str] | None, typer.Option(help="A recipe; pareto compares several (default resnet-rs).")
    ] = None,
    rows: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The rows of an additive study, as YAML.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=0, help="Runs of each network, with seeds 0, 1, ...; 0: as the kind has.")
    ] = 0,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value in all runs.")
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "",
    mode: Annotated[
        str,
        typer.Option(
            help="Timed step: train (a training step) or infer (a forward pass).", rich_help_panel=TIMING
        ),
    ] = "train",
    batch: Annotated[
        int, typer.Option(min=1, help="Images per timed step; halved until they fit.", rich_help_panel=TIMING)
    ] = 32,
    precision: Annotated[
        str,
        typer.Option(help="Of the timed step: auto (as trained), fp32, bf16, fp16.", rich_help_panel=TIMING),
    ] = "auto",
    threads: Annotated[
        int,
        typer.Option(min=0, help="CPU threads of the timed step; 0: all cores.", rich_help_panel=TIMING),
    ] = 0,
    fast: Annotated[
        str,
        typer.Option(
            help="Execution mode of trainings and timed steps, as in `rescale bench`. auto: measured for "
            "each network's timed step; trainings run in the default mode.",
            rich_help_panel=TIMING,
        ),
    ] = "channels_last",
    device: Device = "",
    jobs: Jobs = 0,
    workers: LoadingWorkers = 0,
    on_bad_image: BadImage = "raise",
    eval_epochs: EvalEpochs = 1,
    on: On = "local",
    address: Address = "",
    partition: Partition = "",
    gpus: Gpus = None,
    cpus: Cpus = None,
    time_limit: TimeLimit = None,
    sbatch: Sbatch = None,
    dry: DryRun = False,
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="More networks: --models A B C works too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train the networks of a kind of study, time them and write its report."""
    from typing import Any, cast

    from rescale.bench import TimingProtocol
    from rescale.cli.early import check_choice, check_plan
    from rescale.errors import UserError
    from rescale.studies.kinds import Request

    if out is None:
        raise UserError(f"--out missing, as in: rescale study {context.info_name} --preset tiny --out a")
    check_choice("--on-bad-image", on_bad_image, ON_BAD_IMAGE)
    executor = executor_of(out, on, address, partition, gpus, cpus, time_limit, sbatch, dry)
    named = [name for part in (*(models or []), *(more or [])) for name in part.replace(",", " ").split()]
    request = Request(
        preset=preset,
        data=data_spec(data, train_part, val_part) or "",
        models=tuple(_models(named)),
        recipes=tuple(recipe or ()),
        seeds=seeds,
        changes=tuple(changes or ()),
        rows=rows,
        timing=TimingProtocol(
            cast(Any, mode), batch, "cpu", cast(Any, precision), threads or None, fast=fast
        ),
        title=title,
        command=command_line(sys.argv[1:]),
    )
    plan = KINDS[str(context.info_name)].plan(request)
    check_plan(plan)

    from rescale import machine
    from rescale.studies import Settings

    device = machine.chosen_device(device)
    plan = replace(plan, timing=replace(plan.timing, device=device))
    settings = Settings(jobs or None, device, on_bad_image, eval_epochs, workers)
    _check_and_run(out, plan, settings, dry, as_json, executor)


def help_of(name: str) -> str:
    """The help text of a kind of study."""
    kind = KINDS[name]
    return (
        f"{kind.QUESTION}\n\n{kind.ABOUT} Source: {kind.SOURCE}.\n\n"
        "If interrupted, repeat the command to run what is missing. A failed run does not stop the "
        "others.\n\n"
        f"Example: {kind.EXAMPLE}"
    )


def run(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with a plan.yaml.")],
    device: Device = "",
    jobs: Jobs = 0,
    workers: LoadingWorkers = 0,
    on_bad_image: BadImage = "raise",
    eval_epochs: EvalEpochs = 1,
    on: On = "local",
    address: Address = "",
    partition: Partition = "",
    gpus: Gpus = None,
    cpus: Cpus = None,
    time_limit: TimeLimit = None,
    sbatch: Sbatch = None,
    dry: DryRun = False,
    as_json: Json = False,
) -> None:
    """Run the missing parts of a study's plan.yaml; the plan may be written by hand.

    Example: rescale study run studies/additive
    """
    from rescale.cli.early import check_choice, check_plan
    from rescale.studies.plan_file import plan_in

    check_choice("--on-bad-image", on_bad_image, ON_BAD_IMAGE)
    executor = executor_of(folder, on, address, partition, gpus, cpus, time_limit, sbatch, dry)
    plan = plan_in(folder)
    check_plan(plan)

    from rescale import machine
    from rescale.studies import Settings

    settings = Settings(jobs or None, machine.chosen_device(device), on_bad_image, eval_epochs, workers)
    _check_and_run(folder, plan, settings, dry, as_json, executor)


def _check_and_run(
    out: Path, plan: "Plan", settings: "Settings", dry: bool, as_json: bool, executor: "Executor | None"
) -> None:
    """Check a plan, print what was recognised in its data, and run it or only say what it would take."""
    from rescale.studies import check

    checked = check(plan)
    for line in checked.notes:
        print(note(line), file=sys.stderr)
    if dry:
        dry_run(out, plan, checked, settings, as_json)
    else:
        carry_out(out, plan, settings, as_json, checked.configurations, executor)


def carry_out(
    out: Path,
    plan: "Plan",
    settings: "Settings",
    as_json: bool = False,
    configurations: "Mapping[str, Configuration] | None" = None,
    executor: "Executor | None" = None,
) -> None:
    """Run a study, write its report and print it. Raises JobError if every training failed.

    configurations: what the runs of each label train, where the plan was checked. executor: where the
    networks are trained; None for this machine.
    """
    from rescale.cli.report import show_report
    from rescale.errors import JobError
    from rescale.studies import StudyFolder, outlook, run_study

    finished = StudyFolder(out).results() if StudyFolder(out).plan_file.is_file() else {}
    if line := outlook(plan, finished):
        print(line, file=sys.stderr)
    study = run_study(out, plan, settings, configurations=configurations, executor=executor)
    show_report(out, as_json)
    if not study.results():
        raise JobError(f"{out}: every training failed; {study.failures()[0].reason}")


def command_line(words: list[str]) -> str:
    """The command line, quoted for the shell."""
    import shlex

    return shlex.join(["rescale", *words])


def _models(names: list[str]) -> list[str]:
    """The models; a folder of network files (of `rescale search`) stands for all files in it."""
    from rescale.outputs import EXTERNAL_FILE, NETWORK_FILE

    models = []
    for name in names:
        folder = Path(name)
        is_model = any((folder / file).is_file() for file in (NETWORK_FILE, EXTERNAL_FILE))
        inside = sorted(folder.glob("*.yaml")) if folder.is_dir() and not is_model else []
        models += [str(file) for file in inside] or [name]
    return models
