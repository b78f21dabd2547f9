"""rescale search: random networks of a given cost."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rescale.cli.models import DeviceFile, Json, device_for


def search(
    family: Annotated[str, typer.Argument(help="regnetx, regnety or regnetz.")],
    macs: Annotated[str | None, typer.Option(help="Multiply-adds of one image: 400M.")] = None,
    params: Annotated[str | None, typer.Option(help="Parameters: 6M.")] = None,
    activations: Annotated[str | None, typer.Option(help="Activations: 4M.")] = None,
    latency: Annotated[
        str | None, typer.Option(help="Predicted time per step, with --device: 8ms, 0.5s, 800us.")
    ] = None,
    device: DeviceFile = None,
    mode: Annotated[
        str, typer.Option(help="With --latency: infer (a forward pass) or train (a training step).")
    ] = "infer",
    samples: Annotated[int, typer.Option(min=1, help="Networks to find.")] = 32,
    band: Annotated[float, typer.Option(help="Largest relative deviation from a budget.")] = 0.05,
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

    With --out, each is written as a network file that `rescale study` trains.

    Example: rescale search regnety --macs 400M --samples 32 -o candidates
    """
    from rescale.cli.models import show
    from rescale.cli.quantities import budgets, duration, span
    from rescale.cli.scaling import described
    from rescale.errors import UserError, nearest
    from rescale.files import check_free
    from rescale.report.runtime import footer
    from rescale.scaling import predicted
    from rescale.search import Space, write
    from rescale.search import search as find
    from rescale.terminal import console

    kinds = {"regnetx": "x", "regnety": "y", "regnetz": "z"}
    if family not in kinds:
        raise UserError(f"no design space {family!r} to search; {nearest(family, kinds)}")
    wanted = budgets(macs, params, activations)
    runtime = device_for(latency, device)
    predict = predicted(runtime, mode) if runtime else None  # type: ignore[arg-type]
    if latency is not None:
        wanted["latency"] = duration(latency, "--latency")
    if not wanted:
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
        result = find(space, wanted, samples, seed, band, hints, predict=predict)
    if out is not None:
        write(result, out)
    rows = [described(network) for network in result.networks]
    for row, seconds in zip(rows, result.seconds, strict=False):  # empty without a device file
        row["step_seconds"] = {mode: seconds}
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    show(rows, as_json=False)
    print(
        f"{samples} of {result.drawn:,} drawn ({result.valid:,} of them RegNets of four stages), seed {seed}"
    )
    if runtime is not None:
        print("\n".join(footer(runtime)))
    if out is not None:
        print(f"written: {out}/*.yaml   (rescale study pareto --models {out} --data ...)")
