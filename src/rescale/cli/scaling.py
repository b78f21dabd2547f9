"""rescale scale: scale a network by a factor or to a budget; compare the growth of cost by strategy."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.help import BUDGET
from rescale.cli.models import DeviceFile, Force, Json, cost_row, device_for, network_names

if TYPE_CHECKING:
    from rescale.latency import RuntimeModel, Scaled
    from rescale.network import Network
    from rescale.scaling import Solved, Strategy


def scale(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name or a network file.", autocompletion=network_names)
    ],
    strategy: Annotated[
        str | None,
        typer.Option(
            help="d, w, r, dw, wr, dr, dwr, dWr (the default), compound, fast (with --alpha), rs-depth, "
            "rs-width, rs; or an authors' type, such as g or d1_w8_g8_r1."
        ),
    ] = None,
    factor: Annotated[
        float | None, typer.Option(help="Factor by which multiply-adds grow.", rich_help_panel=BUDGET)
    ] = None,
    macs: Annotated[
        str | None, typer.Option(help="Target multiply-adds, such as 4G.", rich_help_panel=BUDGET)
    ] = None,
    params: Annotated[
        str | None, typer.Option(help="Target parameters, such as 20M.", rich_help_panel=BUDGET)
    ] = None,
    activations: Annotated[
        str | None, typer.Option(help="Target activations, such as 12M.", rich_help_panel=BUDGET)
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option(help="Target time per step, with --device: 8ms, 0.5s, 800us.", rich_help_panel=BUDGET),
    ] = None,
    device: DeviceFile = None,
    force: Force = False,
    mode: Annotated[
        str, typer.Option(help="With --latency: infer (a forward pass) or train (a training step).")
    ] = "infer",
    measure: Annotated[
        bool, typer.Option(help="With --latency: measure each proposal and adjust the prediction.")
    ] = True,
    alpha: Annotated[
        float | None, typer.Option(help="For fast: the share of the growth that goes to width.")
    ] = None,
    exponents: Annotated[
        str | None,
        typer.Option(metavar="depth=..,width=..", help="Instead of a strategy; also resolution, group."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="For rs: epochs of training; they decide on depth or width."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the network as YAML.")] = None,
    table: Annotated[
        bool, typer.Option(help="Print the growth of cost by every strategy; needs no budget.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Plot the growth of cost, as .png or .svg.")] = None,
    as_json: Json = False,
) -> None:
    """Scale a network by a strategy, by a factor or to a budget.

    Give exactly one of --factor, --macs, --params, --activations and --latency. The result is the closest
    valid network. A latency is for one step at the batch of the device's calibration.

    Example: rescale scale efficientnet_b0 --strategy dWr --macs 4G -o b0-4g.yaml
    """
    from rescale import scaling
    from rescale.cli.early import check_all, check_ending
    from rescale.cli.quantities import budgets, duration
    from rescale.errors import UserError
    from rescale.lookup import network

    check_all(
        lambda: network(name),
        lambda: check_ending(plot, ".png", ".svg"),
        lambda: check_ending(out, ".yaml", ".yml"),
    )
    base = network(name)
    if table or plot:
        others = (strategy, macs, params, activations, latency, device, alpha, exponents, epochs, out)
        if any(option is not None for option in others):
            raise UserError("--table and --plot compare all strategies; of the other options give --factor")
        _growth(base, 16.0 if factor is None else factor, plot, as_json)
        return
    wanted = budgets(macs, params, activations)
    if len(wanted) + (factor is not None) + (latency is not None) != 1:
        raise UserError("give one of --factor, --macs, --params, --activations and --latency (or --table)")
    runtime = device_for(latency, device, force, mode)
    chosen = _strategy(strategy, alpha, exponents, epochs)
    solved, timed = None, None
    if latency is not None and runtime is not None:
        timed = _timed(base, chosen, duration(latency, "--latency"), runtime, mode, measure)
        solved, scaled, factor = timed.solved, timed.best.network, timed.best.factor
    elif factor is None:
        ((by, target),) = wanted.items()
        solved = scaling.scale_to(base, chosen, by, target)
        scaled, factor = solved.network, solved.factor
    else:
        scaled = scaling.scale(base, chosen, factor=factor)
    if out is not None:
        _write(scaled, out)
    _print(base, scaled, factor, solved, timed, as_json)
    if out is not None and not as_json:
        print(f"written: {out}")


def _strategy(
    wanted: str | None, alpha: float | None, exponents: str | None, epochs: int | None
) -> "str | Strategy":
    """The strategy that the options describe. UserError for an option that does not belong to it."""
    from rescale import scaling
    from rescale.errors import UserError

    if exponents is not None and wanted is not None:
        raise UserError(f"--exponents replaces the strategy; leave out --strategy {wanted}")
    name = wanted or "dWr"
    if name == "rs":
        if epochs is None:
            raise UserError("the strategy rs needs --epochs: depth for long training, width for short")
        name = scaling.rule_for(epochs)
    elif epochs is not None:
        raise UserError(f"--epochs belongs to the strategy rs, not to {name!r}")
    if scaling.is_rs_rule(name):
        scaling.check_alpha(alpha, name)
        return name
    spec = name if exponents is None else scaling.exponents_of(exponents)
    return _warned(scaling.strategy_of(spec, alpha))


def described(network: "Network", factor: float | None = None) -> dict[str, Any]:
    """The JSON form of a network."""
    from rescale.cost import cost

    row = cost_row(network, cost(network))
    row["depths"] = [stage.depth for stage in network.stages]
    row["widths"] = [stage.width for stage in network.stages]
    row["group_widths"] = [stage.group_width or stage.inner(stage.width) for stage in network.stages]
    if factor is not None:
        row["factor"] = factor
    return row


def _timed(
    base: "Network",
    strategy: "str | Strategy",
    seconds: float,
    runtime: "RuntimeModel",
    mode: str,
    measure: bool,
) -> "Scaled":
    """Scale to a latency; measure if `measure` is set and the device file is of this machine."""
    from typing import Any, cast

    from rescale.latency import differences, measured_here, scale_to_latency

    chosen = cast(Any, mode)  # the runtime model checks it
    if not measure:
        return scale_to_latency(base, strategy, seconds, runtime, chosen)
    if other := differences(runtime):
        print(f"not measured: the device file is of another machine ({other})", file=sys.stderr)
        return scale_to_latency(base, strategy, seconds, runtime, chosen)
    return scale_to_latency(base, strategy, seconds, runtime, chosen, measure=measured_here(runtime, chosen))


def _print(
    base: "Network",
    scaled: "Network",
    factor: float,
    solved: "Solved | None",
    timed: "Scaled | None",
    as_json: bool,
) -> None:
    from rescale.cli.models import show

    row = described(scaled, factor)
    if solved is not None:
        row |= {"wanted": solved.wanted, "reached": solved.reached, "interval": list(solved.interval)}
    if timed is not None:
        row |= {
            "met": timed.met,
            "rounds": [{**proposal._asdict(), "network": proposal.network.name} for proposal in timed.rounds],
        }
    if as_json:
        print(json.dumps([row], indent=1))
        return
    show([described(base), row], as_json=False)
    for label in ("depths", "widths", "group_widths"):
        print(f"{label.replace('_', ' '):13s} {', '.join(map(str, row[label]))}")
    if timed is not None:
        _print_rounds(timed)
    elif solved is not None:
        from rescale.units import count

        off = 100 * (solved.reached / solved.wanted - 1)
        print(f"wanted {count(solved.wanted)}, reached {count(solved.reached)} ({off:+.2f} %)")
    if solved is not None:
        low, high = solved.interval
        print(f"factor {factor:g} (this network from {low:.6g} to {high:.6g})")


def _print_rounds(timed: "Scaled") -> None:
    """Print the proposals with their times, and whether the best one is within the tolerance."""
    from rescale.units import seconds

    for i, proposal in enumerate(timed.rounds, start=1):
        print(f"round {i}: factor {proposal.factor:g}, predicted {seconds(proposal.predicted_s)}", end="")
        print("" if proposal.measured_s is None else f", measured {seconds(proposal.measured_s)}")
    wanted, best = timed.solved.wanted, timed.best
    if best.measured_s is None:
        print(f"wanted {seconds(wanted)}, predicted {seconds(best.predicted_s)}; not measured")
        return
    off = 100 * (best.measured_s / wanted - 1)
    remark = "" if timed.met else ", outside the tolerance: no closer network was found"
    print(f"wanted {seconds(wanted)}, measured {seconds(best.measured_s)} ({off:+.1f} %){remark}")


def _warned(strategy: "Strategy") -> "Strategy":
    if abs(strategy.total - 1) > 1e-6:
        print(
            f"warning: the exponents of depth, width and resolution sum to {strategy.total:g}, not 1: "
            f"multiply-adds will not grow by the factor",
            file=sys.stderr,
        )
    return strategy


def _write(network: "Network", out: Path) -> None:
    from rescale.errors import UserError
    from rescale.network import to_yaml

    try:
        out.write_text(to_yaml(network))
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror})") from None


def _growth(base: "Network", factor: float, plot: Path | None, as_json: bool) -> None:
    from rescale.report.growth import growth_figure, growth_rows, growth_table

    rows = growth_rows(base, factor)
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        print(growth_table(base.name, factor, rows))
    if plot is not None:
        growth_figure(base, plot, most=max(factor, 2.0))
        if not as_json:
            print(f"written: {plot}")
