"""The figure of an additive study: what each row adds to the row above, beside the paper's values."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rescale import units
from rescale.report.chart import escaped
from rescale.report.findings import Findings
from rescale.report.plots import COLOURS
from rescale.report.runs import anchors

OURS, PAPER = COLOURS[0], "#808080"
ROW = 34  # pixels of a row on the page


class Step(NamedTuple):
    """A row of the figure.

    Args:
        label: the row's name.
        mean: of the difference to the row above, in the headline figure's unit; None without a common seed.
        low, high: its interval; None where nothing can be claimed.
        told_apart: whether it is more than chance.
        published: the paper's difference; None if the paper has not both rows.
    """

    label: str
    mean: float | None
    low: float | None
    high: float | None
    told_apart: bool
    published: float | None


def steps(findings: Findings) -> list[Step]:
    """The rows below the first one, from the top."""
    analysis = findings.analysis
    made = []
    for above, row in itertools.pairwise(analysis.rows):
        known = analysis.published
        both = above.label in known and row.label in known
        d = analysis.differences[row.label]
        published = known[row.label] - known[above.label] if both else None
        made.append(Step(row.label, d.mean, d.low, d.high, d.told_apart, published))
    return made


def axis_title(findings: Findings) -> str:
    """What the horizontal axis shows, with its unit."""
    figure = findings.rows[0].figure
    better = "" if figure.higher_is_better else " (lower is better)"
    return f"{figure.label}: difference to the row above, {units.points(figure)}{better}"


def note(findings: Findings) -> str:
    """What the marks mean, in a sentence or two."""
    intervals = any(step.low is not None for step in steps(findings))
    bars = " Bars: intervals of 95 % in all rows together; filled: told apart." if intervals else ""
    paper = ""
    if any(step.published is not None for step in steps(findings)):
        paper = f" Grey diamonds: the paper's differences ({findings.kind.SOURCE}), of its data and training."
    return f"Differences to the row above, paired by seed.{bars}{paper}"


def draw(findings: Findings, paths: Mapping[str, Path]) -> None:
    """Write the picture in each format (png, svg) to its path."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = steps(findings)
    with mpl.rc_context({"svg.hashsalt": "rescale", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8.4, 1.9 + 0.32 * len(shown)), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_title(
            f"{findings.plan.title}\n", loc="left", fontsize=12, fontweight="bold", parse_math=False
        )
        axes.text(0, 1.02, findings.trained_on, transform=axes.transAxes, fontsize=8, color="#555555")
        axes.axvline(0, color="#999999", linewidth=0.8)
        for y, step in enumerate(shown):
            if step.mean is not None:
                if step.low is not None and step.high is not None:
                    axes.plot([step.low, step.high], [y, y], color=OURS, linewidth=1.4)
                face = OURS if step.told_apart else "white"
                axes.plot(step.mean, y, "o", color=OURS, markerfacecolor=face, markersize=6)
            if step.published is not None:
                axes.plot(step.published, y, "D", color=PAPER, markerfacecolor="none", markersize=5)
        axes.plot([], [], "o-", color=OURS, label="here: mean and interval (filled: told apart)")
        if any(step.published is not None for step in shown):
            label = f"in the paper ({findings.kind.SOURCE}: its data, its training)"
            axes.plot([], [], "D", color=PAPER, markerfacecolor="none", label=label)
        axes.set_yticks(range(len(shown)), [step.label for step in shown], parse_math=False)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel(axis_title(findings))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.7)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        for kind, path in paths.items():
            figure.savefig(path, format=kind, metadata={"Date": None} if kind == "svg" else None)


def figure(findings: Findings) -> Any:
    """The interactive figure."""
    import plotly.graph_objects as go

    shown = steps(findings)
    known = [step for step in shown if step.mean is not None]
    places = anchors(findings)
    names = [escaped(step.label) for step in known]
    means = [step.mean for step in known]
    ours = go.Scatter(
        x=means,
        y=names,
        customdata=[places[step.label] for step in known],
        mode="markers",
        name="here",
        marker={
            "color": [OURS if step.told_apart else "white" for step in known],
            "line": {"color": OURS, "width": 2},
            "size": 11,
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [_beyond(step.high, step.mean) for step in known],
            "arrayminus": [_beyond(step.mean, step.low) for step in known],
            "thickness": 1.4,
            "width": 4,
            "color": OURS,
        },
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )
    published = [step for step in shown if step.published is not None]
    paper = go.Scatter(
        x=[step.published for step in published],
        y=[escaped(step.label) for step in published],
        mode="markers",
        name="in the paper",
        marker={"symbol": "diamond-open", "color": PAPER, "line": {"width": 2}, "size": 10},
        hovertemplate="%{y}, in the paper: %{x:+.1f}<extra></extra>",
    )
    drawing = go.Figure([ours, paper] if published else [ours])
    drawing.update_layout(
        height=165 + ROW * len(shown),
        xaxis={  # in two lines, for phones
            "title": {"text": escaped(axis_title(findings)).replace(": ", ":<br>", 1)},
            "zeroline": True,
        },
        yaxis={
            "type": "category",
            "categoryorder": "array",
            "categoryarray": [escaped(step.label) for step in reversed(shown)],
            "automargin": True,
        },
        showlegend=bool(published),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"l": 10, "r": 20, "t": 40, "b": 75},
    )
    return drawing


def _beyond(far: float | None, near: float | None) -> float:
    """Length of one half of an interval; 0 where there is none."""
    return 0.0 if far is None or near is None else far - near
