"""The page of `gpu.py`: its tables and two plots, in one file. `python gpu_page.py gpu.json` rewrites it."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from rescale.report.plots import style

TEMPLATE = Path(__file__).with_suffix(".html")


def write_page(results: dict[str, Any], path: Path) -> None:
    """Write the page for the results of `gpu.py`."""
    environment = jinja2.Environment(autoescape=True)
    machine, batch = results["machine"], results["batch"]
    parts = [
        (
            "ResNet-RS against EfficientNets of matched accuracy",
            f"A training step of {batch} images, starting with {batch} and halved until they fit. The "
            "accuracies and the V100's figures are the paper's, not measured here."
            + " Resolutions are a third of the paper's, whose accuracies do not hold there."
            * results["small"],
            ("ResNet-RS", "EfficientNet", "times as fast here", "on the paper's V100"),
            [
                (row["ours"], row["peer"], f"{row['ratio']:.2f}", f"{row['paper_v100']:.2f}")
                for row in results["speed_ups"]
            ],
            pareto_plot(results),
        ),
        (
            "Its networks",
            "Shares of the rate and bandwidth that a large matrix product and a large copy reach here: "
            f"{results['peak']['macs_per_s'] / 1e12:.3g} T multiply-adds/s, "
            f"{results['peak']['bytes_per_s'] / 1e9:.4g} GB/s. "
            "Lower bound on the bandwidth: the tensors that autograd keeps, written once and read once.",
            ("network", "step, ms", "fitted", "memory, GiB", "of peak rate", "of bandwidth"),
            [
                network_row(row, share)
                for row, share in zip(results["pareto"], results["shares"], strict=True)
            ],
            "",
        ),
        (
            "Scaled networks: what predicts the time of a step",
            "Pearson's r with step time. The paper has .99 for activations, .81 for multiply-adds, .56 for "
            "parameters over EfficientNet-B0's epoch times.",
            ("scaled from", "activations", "multiply-adds", "parameters"),
            [
                (name, *(f"{r[measure]:.3f}" for measure in ("activations", "macs", "params")))
                for name, r in results["correlations"].items()
            ],
            scaling_plot(results),
        ),
        (
            "Against timm",
            f"A training step of {batch} images, each with the fastest of its modes or flags.",
            ("network", "ours, ms", "mode", "timm, ms", "flags", "ratio"),
            [
                (
                    row["name"],
                    f"{1000 * row['ours'][row['best']]:.1f}",
                    row["best"],
                    f"{1000 * row['timm'][row['timm_best']]:.1f}",
                    row["timm_best"],
                    f"{row['ratio']:.2f}",
                )
                for row in results["timm"]
            ],
            "",
        ),
    ]
    text = environment.from_string(TEMPLATE.read_text()).render(
        title=results["question"],
        machine=machine,
        date=results["date"],
        parts=parts,
        left_out=results["left_out"],
    )
    path.write_text(text)


def network_row(row: dict[str, Any], share: dict[str, Any]) -> tuple[str, ...]:
    memory = "" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 2**30:.1f}"
    return (
        row["name"],
        f"{1000 * row['seconds']:.1f}",
        str(row["batch_fitted"]),
        memory,
        f"{share['of_peak_rate']:.1%}",
        f"{share['of_bandwidth_at_least']:.1%}",
    )


def pareto_plot(results: dict[str, Any]) -> str:
    """The paper's accuracies over the times measured here."""
    figure, axes = _figure(1)
    for index, (prefix, label) in enumerate((("resnetrs", "ResNet-RS"), ("efficientnet", "EfficientNet"))):
        rows = sorted(
            (r for r in results["pareto"] if r["name"].startswith(prefix)), key=lambda r: r["seconds"]
        )
        colour, marker = style(index)
        axes[0].plot(
            [1000 * r["seconds"] for r in rows],
            [r["paper_top1"] for r in rows],
            color=colour,
            marker=marker,
            label=label,
        )
    axes[0].set_xscale("log")
    axes[0].xaxis.set_major_formatter(ScalarFormatter())
    axes[0].xaxis.set_minor_formatter(ScalarFormatter())
    axes[0].set_xlabel(f"training step of {results['batch']} images, ms (measured here)")
    axes[0].set_ylabel("ImageNet top-1, % (the paper's)")
    axes[0].legend(frameon=False)
    return _svg(figure)


def scaling_plot(results: dict[str, Any]) -> str:
    """Step time over each measure of cost, one panel each."""
    figure, axes = _figure(3)
    names = list(results["correlations"])
    for axis, measure, unit in zip(axes, ("activations", "macs", "params"), ("M", "G", "M"), strict=True):
        for row in results["scaling"]:
            colour, marker = style(names.index(row["base"])) if row["base"] in names else style(6)
            axis.plot(
                row[measure] / (1e9 if unit == "G" else 1e6), 1000 * row["seconds"], marker, color=colour
            )
        for index, name in enumerate(names):
            colour, marker = style(index)
            axis.plot(
                [],
                [],
                marker,
                color=colour,
                label=f"{name}, r = {results['correlations'][name][measure]:.2f}",
            )
        axis.set_xlabel({"macs": "multiply-adds", "params": "parameters"}.get(measure, measure) + f", {unit}")
        axis.legend(frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(0, 1))
    axes[0].set_ylabel("training step, ms")
    return _svg(figure)


def _figure(panels: int) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
    return figure, list(axes)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


if __name__ == "__main__":
    source = Path(sys.argv[1])
    write_page(json.loads(source.read_text()), source.with_suffix(".html"))
