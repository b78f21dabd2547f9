"""Options of the commands that train many networks: on this machine, on a Ray cluster or under Slurm."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.help import CLUSTER

if TYPE_CHECKING:
    from rescale.studies.executors.executor import Executor

On = Annotated[
    str,
    typer.Option(
        "--on",
        help="Where networks are trained: local (this machine), ray or slurm. All are timed here.",
        rich_help_panel=CLUSTER,
    ),
]
Address = Annotated[
    str,
    typer.Option(
        help="Ray: HOST:PORT of the head; default: this machine's cluster, or one of this machine alone.",
        rich_help_panel=CLUSTER,
    ),
]
Partition = Annotated[
    str, typer.Option(help="Slurm: the partition; default: Slurm's own.", rich_help_panel=CLUSTER)
]
Gpus = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Ray and Slurm: GPUs of each training: 0, 1 or, on Ray, a part. Default: 1 on a Ray cluster "
        "that has GPUs, otherwise 0.",
        rich_help_panel=CLUSTER,
    ),
]
Cpus = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Ray and Slurm: cores of each training. Default: on Ray a share of the cluster, on Slurm one "
        "besides the loading processes.",
        rich_help_panel=CLUSTER,
    ),
]
TimeLimit = Annotated[
    float | None,
    typer.Option(
        min=0.05,
        help="Slurm: hours of a job (default 24); a longer training goes on in another job.",
        rich_help_panel=CLUSTER,
    ),
]
Sbatch = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Slurm: another option of sbatch, as in --sbatch account=vision --sbatch mem=16G.",
        rich_help_panel=CLUSTER,
    ),
]
BELONG = {  # the options that an executor has
    "local": (),
    "ray": ("--address", "--gpus", "--cpus"),
    "slurm": ("--partition", "--gpus", "--cpus", "--time-limit", "--sbatch"),
}


def executor_of(
    out: Path,
    on: str,
    address: str,
    partition: str,
    gpus: float | None,
    cpus: int | None,
    time_limit: float | None,
    sbatch: Sequence[str] | None,
    dry: bool,
) -> "Executor | None":
    """The executor that the options describe; None for this machine.

    Args:
        out: the study's folder.
        dry: whether nothing is to be trained.
        on, address, partition, gpus, cpus, time_limit, sbatch: the options of the same names.

    Raises:
        UserError: an option belongs to another executor or has a wrong value; a package or Slurm is missing.
    """
    from rescale.cli.early import check_choice
    from rescale.errors import UserError

    check_choice("--on", on, tuple(BELONG))
    given: dict[str, Any] = {
        "--address": address,
        "--partition": partition,
        "--gpus": gpus,
        "--cpus": cpus,
        "--time-limit": time_limit,
        "--sbatch": sbatch,
    }
    for option, value in given.items():
        if value not in (None, "", []) and option not in BELONG[on]:
            others = " or ".join(f"--on {name}" for name, options in BELONG.items() if option in options)
            raise UserError(f"{option} belongs to {others}; this is --on {on}")
    if on == "local":
        return None
    if dry:
        raise UserError(f"--dry-run estimates trainings on this machine; leave out --on {on}")
    if on == "ray":
        from rescale.studies.executors.ray_cluster import RayExecutor

        return RayExecutor(address, gpus, cpus)
    from rescale.studies.executors.slurm import SlurmExecutor

    if gpus not in (None, 0, 1):
        raise UserError(f"--gpus {gpus:g}: Slurm gives whole GPUs, and a training uses one")
    return SlurmExecutor(
        out / "slurm", partition, int(gpus or 0), cpus, time_limit, sbatch_options(sbatch or [])
    )


def sbatch_options(words: Sequence[str]) -> dict[str, str]:
    """Options of sbatch from KEY=VALUE. Raises UserError for anything else and for what rescale sets."""
    from rescale.errors import UserError

    own = {"partition": "--partition", "time": "--time-limit", "gpus-per-node": "--gpus", "gpus": "--gpus",
           "cpus-per-task": "--cpus", "array": "--jobs", "job-name": "", "output": "", "error": "",
           "signal": "", "requeue": ""}  # fmt: skip
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip().lstrip("-").replace("_", "-")
        if not (key and equals and value):
            raise UserError(f"--sbatch {word}: expected KEY=VALUE, as in --sbatch account=vision")
        if key in own:
            raise UserError(
                f"--sbatch {word}: " + (f"use {own[key]}" if own[key] else f"{key} is set by rescale itself")
            )
        options[key] = value
    return options
