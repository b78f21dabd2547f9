"""The figures of a report, by the names that an analysis gives: on the page, and as picture files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescale.report import chart, plots, steps
from rescale.report.findings import Findings

FONT = {"family": "system-ui, sans-serif", "size": 14}  # as the page's; the page's style sets the colours
CLEAR = "rgba(0,0,0,0)"
_NO_BUTTONS = ["select2d", "lasso2d", "sendChartToCloud"]  # the page uses no network


@dataclass(frozen=True)
class ReportFigure:
    """A figure.

    Args:
        title: its heading on the page.
        figure: makes the interactive figure.
        draw: writes the picture in each format (png, svg) to its path.
        note: explains its marks.
        shown: whether there is enough to draw it from.
    """

    title: str
    figure: Callable[[Findings], Any]
    draw: Callable[[Findings, Mapping[str, Path]], None]
    note: Callable[[Findings], str]
    shown: Callable[[Findings], bool]


FIGURES: Mapping[str, ReportFigure] = {
    "pareto": ReportFigure(
        "Speed and accuracy", chart.figure, plots.draw, chart.note, lambda findings: bool(findings.rows)
    ),
    "steps": ReportFigure(
        "What each row adds",
        steps.figure,
        steps.draw,
        steps.note,
        lambda findings: bool(findings.analysis.differences),
    ),
}


def drawn(findings: Findings) -> list[str]:
    """The names of the figures that can be drawn, the most important one first."""
    return [name for name in findings.analysis.figures if FIGURES[name].shown(findings)]


def as_html(name: str, findings: Findings, *, with_script: bool) -> str:
    """A figure for the page, with Plotly's script if it is the page's first one."""
    made = FIGURES[name].figure(findings)
    made.update_layout(
        template="plotly_white", font=FONT, hoverlabel={"font": FONT}, paper_bgcolor=CLEAR, plot_bgcolor=CLEAR
    )
    html: str = made.to_html(
        full_html=False,
        include_plotlyjs=with_script,
        include_mathjax=False,
        div_id=name,
        config={"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": _NO_BUTTONS},
    )
    return html
