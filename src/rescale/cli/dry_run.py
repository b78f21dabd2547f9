"""rescale study ... --dry-run: every run of a study with its command and its price; nothing is trained."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescale import layout
from rescale.cli.help import EXECUTION
from rescale.duration import clock
from rescale.errors import plural

if TYPE_CHECKING:
    from rescale.studies import Plan, Settings
    from rescale.studies.checks import Checked
    from rescale.studies.plan import Item
    from rescale.studies.price import Price

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print every missing run with its command and estimated time; train nothing.",
        rich_help_panel=EXECUTION,
    ),
]


def dry_run(out: Path, plan: "Plan", checked: "Checked", settings: "Settings", as_json: bool) -> None:
    """Time a few steps of each network whose runs are missing, and print what the study would do.

    Raises:
        UserError: the folder holds another study.
        JobError: a model cannot be timed.
    """
    from rescale import machine
    from rescale.bench import Server, TimingProtocol
    from rescale.cli.progress import progress
    from rescale.studies import StudyFolder, outlook
    from rescale.studies.commands import training_command
    from rescale.studies.executors.local import parallel
    from rescale.studies.price import prices
    from rescale.studies.trainings import mode_of_training

    study = StudyFolder(out)
    study.check_available(plan, checked.configurations)
    finished = study.results() if study.plan_file.is_file() else {}
    if line := outlook(plan, finished):
        print(line, file=sys.stderr)
    missing = [item for item in plan.items if item not in finished]
    device = settings.device or machine.default_device()
    jobs, threads = parallel(settings, len(missing))
    fast = mode_of_training(plan.timing)
    protocol = TimingProtocol(device=device, threads=threads, fast=fast)
    with Server() as server, progress("measuring") as advance:
        priced = prices(checked.runs, missing, protocol, server, advance)
    used = {**asdict(settings), "threads": threads, "fast": fast, "device": device}
    commands = {item: training_command(plan, item, used, f"runs/{item.name}") for item in missing}
    if as_json:
        rows = [
            {
                "label": item.label,
                "seed": item.seed,
                **priced[item]._asdict(),
                "command": shlex.join(commands[item]),
            }
            for item in missing
        ]
        print(json.dumps(rows, indent=1))
        return
    if missing:
        print(layout.table(_columns(priced)))
    print(layout.wrapped(_summary(priced, len(finished), jobs, threads, device)))
    for item in missing:
        print(f"\n{shlex.join(commands[item])}")


def _columns(priced: "Mapping[Item, Price]") -> list[layout.Column]:
    """A row for each network."""
    labels = dict.fromkeys(item.label for item in priced)
    of_label = {label: [p for item, p in priced.items() if item.label == label] for label in labels}
    first = [of_label[label][0] for label in labels]
    return [
        layout.Column("network", list(labels), left=True, breaks=True),
        layout.Column("runs", [str(len(of_label[label])) for label in labels]),
        layout.Column("steps\neach", [f"{price.steps:,}" for price in first], rank=2),
        layout.Column("images\na step", [f"{price.batch:,}" for price in first], rank=3),
        layout.Column("time\neach", [clock(price.seconds) for price in first]),
        layout.Column("time\nof all", [clock(_total(of_label[label])) for label in labels]),
    ]


def _summary(priced: "Mapping[Item, Price]", finished: int, jobs: int, threads: int, device: str) -> str:
    """What the study will take, and what the estimate leaves out."""
    done = f"{plural(finished, 'run')} finished. " if finished else ""
    if not priced:
        return f"{done}Nothing is left to train."
    total = _total(list(priced.values()))
    parallel = f", {jobs} at a time: about {clock(total / jobs)}" if jobs > 1 else ""
    where = plural(threads, "thread") if device == "cpu" else device
    return (
        f"{done}{plural(len(priced), 'run')} to train: {clock(total)} of training steps{parallel} "
        f"(hours:minutes:seconds). Estimated from 3 steps of each network, measured alone on {where}; "
        f"loading images, evaluations and the timings come on top. Nothing was trained."
    )


def _total(prices: "Sequence[Price]") -> float:
    return sum(price.seconds for price in prices)
