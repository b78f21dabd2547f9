"""rescale search: random networks of a given cost."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from rescale.cli.help import BUDGET
from rescale.cli.models import DeviceFile, Force, Json, device_for

if TYPE_CHECKING:
    from rescale.bench.timing import Mode
    from rescale.latency import RuntimeModel
    from rescale.scaling import Measure
    from rescale.search import Found


def search(
    family: Annotated[str, typer.Argument(help="regnetx, regnety or regnetz.")],
    macs: Annotated[
        str | None, typer.Option(help="Multiply-adds of one image: 400M.", rich_help_panel=BUDGET)
    ] = None,
    params: Annotated[str | None, typer.Option(help="Parameters: 6M.", rich_help_panel=BUDGET)] = None,
    activations: Annotated[str | None, typer.Option(help="Activations: 4M.", rich_help_panel=BUDGET)] = None,
    latency: Annotated[
        str | None,
        typer.Option(help="Largest time of a step, with --device: 8ms, 0.5s, 800us.", rich_help_panel=BUDGET),
    ] = None,
    device: DeviceFile = None,
    force: Force = False,
    mode: Annotated[
        str, typer.Option(help="With --latency: infer (a forward pass) or train (a training step).")
    ] = "infer",
    measure: Annotated[
        bool, typer.Option(help="With --latency: measure the networks, and leave out those that are slower.")
    ] = True,
    samples: Annotated[int, typer.Option(min=1, help="Networks to find.")] = 32,
    band: Annotated[
        float, typer.Option(help="Largest relative deviation from a budget other than --latency.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same networks.")] = 0,
    resolution: Annotated[str, typer.Option(help="Range of pixels, in steps of 16.")] = "160..320",
    group: Annotated[str, typer.Option(help="Range of group widths.")] = "8..128",
    depth: Annotated[str, typer.Option(help="Range of blocks.")] = "12..28",
    hints: Annotated[
        bool, typer.Option(help="Also apply the authors' limits on parameters and activations (X, Y at 224).")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new folder for the networks.")] = None,
    as_json: Json = False,
) -> None:
    """Sample RegNets from the papers' distributions until enough meet the budget.

    A latency is an upper bound. Among the networks below it, those with the most multiply-adds are taken:
    the best guess at accuracy before training. The slower ones of them are left out after measuring.

    With --out, each is written as a network file that `rescale study` trains.

    Example: rescale search regnety --macs 400M --samples 32 -o candidates

    Example: rescale search regnety --latency 20ms --device device.json --samples 8 -o candidates
    """
    from rescale.cli.models import show
    from rescale.cli.quantities import budgets, duration, span
    from rescale.cli.scaling import described
    from rescale.errors import UserError, nearest
    from rescale.files import check_free
    from rescale.layout import wrapped
    from rescale.report.runtime import footer
    from rescale.scaling import predicted
    from rescale.search import Space, search_within, write
    from rescale.search import search as find
    from rescale.terminal import console

    kinds = {"regnetx": "x", "regnety": "y", "regnetz": "z"}
    if family not in kinds:
        raise UserError(f"no design space {family!r} to search; {nearest(family, kinds)}")
    wanted = budgets(macs, params, activations)
    runtime = device_for(latency, device, force, mode)
    if not wanted and latency is None:
        raise UserError("give a budget: --macs, --params, --activations or --latency")
    space = Space(
        kinds[family],  # type: ignore[arg-type]
        depth=span(depth, "--depth"),
        group=span(group, "--group"),
        resolution=span(resolution, "--resolution"),
    )
    if out is not None:
        check_free(out)
    with console(stderr=True).status("sampling networks"):
        if latency is None or runtime is None:
            result = find(space, wanted, samples, seed, band, hints)
        else:
            limit, wanted_mode = duration(latency, "--latency"), cast("Mode", mode)
            with _timer(runtime, wanted_mode, measure) as measured:
                result = search_within(
                    space,
                    limit,
                    predicted(runtime, wanted_mode),
                    samples,
                    seed,
                    budget=wanted,
                    band=band,
                    hints=hints,
                    measure=measured,
                )
    if out is not None:
        write(result, out)
    rows = [described(network) for network in result.networks]
    for row, seconds in zip(rows, result.seconds, strict=False):  # empty without a device file
        row["step_seconds"] = {mode: seconds}
    for row, seconds in zip(rows, result.measured, strict=False):
        row["measured_seconds"] = seconds
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    show(rows, as_json=False)
    print(wrapped(_summary(result, samples, seed, limit if runtime else None)))
    if runtime is not None:
        print("\n".join(footer(runtime)))
    if out is not None:
        print(wrapped(f"written: {out}/*.yaml   ({_study(out, runtime, mode)})", "  "))


@contextmanager
def _timer(runtime: "RuntimeModel", mode: "Mode", measure: bool) -> "Iterator[Measure | None]":
    """What measures networks on the device, if that is wanted and it is this machine; else None."""
    from rescale.bench import Server
    from rescale.latency import differences, measured_here

    if not measure:
        yield None
    elif other := differences(runtime):
        print(f"not measured: the device file is of another machine ({other})", file=sys.stderr)
        yield None
    else:
        with Server() as server:
            yield measured_here(runtime, mode, ask=server)


def _summary(result: "Found", samples: int, seed: int, latency_s: float | None) -> str:
    """How many networks were drawn and kept, and in which order they are listed."""
    from rescale.units import seconds

    drawn = (
        f"{len(result.networks)} of {result.drawn:,} drawn "
        f"({result.valid:,} of them RegNets of four stages), seed {seed}"
    )
    if latency_s is None:
        return drawn
    how = "measured" if result.measured else "predicted, not measured"
    text = f"{drawn}. At most {seconds(latency_s)} a step, {how}; by falling multiply-adds"
    if result.too_slow:
        text += f". {result.too_slow} more were measured and are slower"
    if len(result.networks) < samples:
        text += f". No more than {len(result.networks)} of {samples} were found"
    return text


def _study(out: Path, runtime: "RuntimeModel | None", mode: str) -> str:
    """The command that trains the networks, and times them as they were calibrated."""
    command = f"rescale study pareto --models {out} --data ..."
    if runtime is None:
        return command
    threads = runtime.settings["threads"]
    return f"{command} --mode {mode} --batch {runtime.batch} --threads {threads}"
