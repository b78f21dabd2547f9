"""How cost grows with the scaling factor, by strategy: the papers' closed forms beside real networks."""

from pathlib import Path
from typing import Any

from rescale.errors import UserError
from rescale.layout import Column, table, wrapped
from rescale.network import Network
from rescale.scaling import STRATEGIES, analytic, measured

POINTS = 25  # factors along a curve


def growth_rows(network: Network, factor: float) -> list[dict[str, Any]]:
    """One row for each strategy: exponents of s by the closed forms, and this network's cost."""
    rows = []
    for name, strategy in STRATEGIES.items():
        expected, (real,) = analytic(strategy), measured(network, strategy, [factor])
        rows.append(
            {
                "strategy": name,
                "depth": strategy.depth,
                "width": strategy.width / 2,
                "resolution": strategy.resolution / 2,
                "analytic": expected._asdict(),
                "analytic_times": {k: factor**v for k, v in expected._asdict().items()},
                "real_times": real.times._asdict(),
                "real": real.cost._asdict(),
            }
        )
    return rows


def growth_table(name: str, factor: float, rows: list[dict[str, Any]]) -> str:
    """The rows as text: growth by the closed form, then of the real network."""
    title = (
        f"{name} scaled by s = {factor:g}: times the unscaled cost, by the closed form > of the real network"
    )
    columns = [Column("strategy", [row["strategy"] for row in rows], left=True)]
    for key, heading in (("depth", "depth"), ("width", "width"), ("resolution", "pixels")):
        columns.append(Column(heading, [f"s^{row[key]:.3g}" for row in rows]))
    for key, heading in (("macs", "multiply-adds"), ("params", "parameters"), ("activations", "activations")):
        pairs = [(row["analytic_times"][key], row["real_times"][key]) for row in rows]
        columns.append(Column(heading, [f"{expected:.2f} > {real:.2f}" for expected, real in pairs]))
    source = (
        "closed form: all stages alike, stem and head left out (Fast and Accurate Model Scaling, Tables 1-4)"
    )
    return "\n".join([wrapped(title), table(columns), wrapped(source)])


def growth_figure(network: Network, path: Path, most: float = 16.0) -> None:
    """Draw parameters and activations against s: lines by the closed forms, points of real networks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    factors = [most ** (i / (POINTS - 1)) for i in range(POINTS)]
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), sharex=True, layout="constrained")
    for axis, kind in zip(axes, ("macs", "params", "activations"), strict=True):
        for i, (name, strategy) in enumerate(STRATEGIES.items()):
            power = getattr(analytic(strategy), kind)
            axis.plot(factors, [s**power for s in factors], color=f"C{i}", linewidth=1, alpha=0.6)
            real = [getattr(growth.times, kind) for growth in measured(network, strategy, factors)]
            axis.plot(factors, real, ".", color=f"C{i}", markersize=5, label=name)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_xlabel("scaling factor s")
        axis.grid(True, alpha=0.25)
    axes[0].set_ylabel("times the unscaled network's")
    for axis, title in zip(axes, ("multiply-adds", "parameters", "activations"), strict=True):
        axis.set_title(title, fontsize=11)
    axes[2].legend(title="strategy", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.suptitle(f"{network.name}: points are real, rounded networks; lines the papers' closed forms")
    try:
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        plt.close(figure)
