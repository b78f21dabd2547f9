"""The interactive Pareto curve."""

from collections.abc import Sequence
from typing import Any

from rescale import units
from rescale.report.findings import Findings
from rescale.report.plots import round_ticks, style
from rescale.report.runs import anchors
from rescale.studies import Row, front, fronts, point

MEASURES = {  # choices for the horizontal axis, with factor and unit
    "latency_s": (1e3, "ms"),
    "memory_bytes": (2**-20, "MiB"),
    "macs": (1e-6, "M"),
    "params": (1e-6, "M"),
    "activations": (1e-6, "M"),
}
SYMBOLS = {  # Plotly's names of Matplotlib's markers
    "o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "v": "triangle-down",
    "P": "cross", "X": "x",
}  # fmt: skip
NAMES = 12  # size of the networks' names; templates/chart.js moves them apart


def note(findings: Findings) -> str:
    """What the lines and bars mean."""
    worse = f"every other one costs more or has a worse {findings.rows[0].figure.label}"
    return (
        f"Lines: each family's own front. Grey: the common front, whose networks are filled: {worse}. "
        "Bars: upright the standard deviation over seeds, across the quartiles of the timed steps."
    )


def figure(findings: Findings) -> Any:
    """The curve. A menu changes the horizontal axis.

    findings: of at least one row.
    """
    import plotly.graph_objects as go

    rows = findings.rows
    known = [name for name in MEASURES if any(getattr(row, name) is not None for row in rows)]
    of_measure = {name: traces(findings, name) for name in known}
    drawing = go.Figure(
        [go.Scatter(visible=name == known[0], **trace) for name, own in of_measure.items() for trace in own]
    )
    menu = [
        {
            "label": _short_name(name, findings),
            "method": "update",
            "args": [
                {"visible": [other == name for other, own in of_measure.items() for _ in own]},
                {
                    "xaxis.title.text": axis_title(name, findings),
                    "xaxis.tickvals": axis_ticks(rows, name),
                    "xaxis.autorange": True,
                },
            ],
        }
        for name in known
    ]
    drawing.update_layout(
        height=520,
        margin={"l": 60, "r": 20, "t": 60, "b": 60},
        xaxis={
            "type": "log",
            "title": {"text": axis_title(known[0], findings)},
            "tickvals": axis_ticks(rows, known[0]),
        },
        yaxis={"title": {"text": escaped(units.axis(rows[0].figure))}},
        legend={"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0},
        updatemenus=[{"buttons": menu, "x": 0, "xanchor": "left", "y": 1.03, "yanchor": "bottom"}],
    )
    return drawing


def axis_ticks(rows: Sequence[Row], name: str) -> list[float]:
    """Round numbers along the horizontal axis, a little beyond the networks and their bars on both sides."""
    ends = (name, "latency_q1_s", "latency_q3_s") if name == "latency_s" else (name,)
    shown = [value for row in rows for end in ends if (value := getattr(row, end)) is not None]
    values = [MEASURES[name][0] * float(value) for value in shown]
    return round_ticks(0.8 * min(values), 1.25 * max(values), enough=4)  # on a phone they would be turned


def axis_title(name: str, findings: Findings) -> str:
    """What the horizontal axis shows, with its unit."""
    what = {
        "latency_s": findings.time_of,
        "memory_bytes": f"peak memory: {findings.timed}",
        "macs": "multiply-adds an image",
    }
    return f"{what.get(name, _short_name(name, findings))}, {MEASURES[name][1]} (log scale)"


def _short_name(name: str, findings: Findings) -> str:
    names = {
        "latency_s": findings.time_name,
        "memory_bytes": "memory",
        "macs": "MACs",
        "params": "parameters",
    }
    return names.get(name, name)


def traces(findings: Findings, name: str) -> list[dict[str, Any]]:
    """The common front; for each group its front and its networks, filled on the common front.

    Both kinds of fronts are those of this measure.
    """
    known, places = [row for row in findings.rows if getattr(row, name) is not None], anchors(findings)
    common = [known[i] for i in front([point(row, name) for row in known])]
    drawn = [
        {
            **_line(common, name),
            "line": {"color": "rgba(128,128,128,0.3)", "width": 9},
            "name": "common front (its networks filled)",
        }
    ]
    for i, (group, best) in enumerate(fronts(known, name).items()):
        colour, marker = style(i)
        own = [row for row in known if row.group == group]
        drawn.append(
            {
                **_line(best, name),
                "line": {"color": colour, "width": 2},
                "legendgroup": group,
                "showlegend": False,
            }
        )
        drawn.append(  # only for the legend, whose mark would otherwise be the first network's
            {
                "x": [None],
                "y": [None],
                "mode": "lines+markers",
                "marker": {"symbol": SYMBOLS[marker], "color": colour, "size": 11},
                "line": {"color": colour, "width": 2},
                "name": escaped(group),
                "legendgroup": group,
            }
        )
        drawn.append(
            {
                "x": [_scaled(row, name) for row in own],
                "y": [row.value for row in own],
                **_error_bars(own, name, colour),
                "mode": "markers+text",
                "marker": {
                    "symbol": SYMBOLS[marker],
                    "color": [colour if row in common else "white" for row in own],
                    "line": {"color": colour, "width": 2},
                    "size": 11,
                },
                "legendgroup": group,
                "showlegend": False,
                "text": [escaped(row.label) for row in own],
                "textposition": "top center",
                "textfont": {"size": NAMES},
                "cliponaxis": False,
                "hovertext": [hover(row, findings) for row in own],
                "customdata": [places[row.label] for row in own],
                "hovertemplate": "%{hovertext}<extra></extra>",
            }
        )
    return drawn


def _line(rows: Sequence[Row], name: str) -> dict[str, Any]:
    return {
        "x": [_scaled(row, name) for row in rows],
        "y": [row.value for row in rows],
        "mode": "lines",
        "hoverinfo": "skip",
    }


def _error_bars(rows: Sequence[Row], name: str, colour: str) -> dict[str, Any]:
    """Upright: the standard deviation over seeds. Across, of times: the quartiles of the steps."""
    look = {"thickness": 1.2, "width": 3, "color": colour}
    bars: dict[str, Any] = {"error_y": {"array": [row.value_std or 0 for row in rows], **look}}
    if name == "latency_s":
        scale = MEASURES[name][0]
        bars["error_x"] = {
            "type": "data",
            "symmetric": False,
            "array": [scale * ((row.latency_q3_s or 0) - (row.latency_s or 0)) for row in rows],
            "arrayminus": [scale * ((row.latency_s or 0) - (row.latency_q1_s or 0)) for row in rows],
            **look,
        }
    return bars


def hover(row: Row, findings: Findings) -> str:
    """The text shown when the pointer is on a network."""
    figure = row.figure
    lines = [
        f"<b>{escaped(row.label)}</b>",
        escaped(f"{figure.label} {figure.unit}".rstrip()) + f": {units.spread(row.value, row.value_std)}",
        f"{findings.time_name}: {units.seconds(row.latency_s)}",
        f"memory: {units.memory(row.memory_bytes)}",
        f"MACs: {units.count(row.macs)}",
        f"params: {units.count(row.params)}",
        f"activations: {units.count(row.activations)}",
    ]
    if not findings.analysis.ranked:
        lines.insert(1, escaped(", ".join([row.model, *findings.own_changes[row.label]])))
    return "<br>".join(lines)


def _scaled(row: Row, name: str) -> float:
    return MEASURES[name][0] * float(getattr(row, name))


def escaped(text: str) -> str:
    """Plotly reads tags in its texts; a figure may be called delta<1.25."""
    return text.replace("<", "&lt;")
