"""The study as one self-contained HTML page: it needs no network connection and no other file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import rescale
from rescale.errors import plural
from rescale.figure import Figure
from rescale.report import units
from rescale.report.findings import Findings
from rescale.report.plots import round_ticks, style
from rescale.studies import Row, best_first, fronts

MEASURES = {  # choices for the horizontal axis of the picture
    "latency_s": "latency",
    "memory_bytes": "memory",
    "macs": "MACs",
    "params": "parameters",
    "activations": "activations",
}
_NO_BUTTONS = ["select2d", "lasso2d", "sendChartToCloud"]  # the page uses no network
_SCALES = {  # factor and unit
    "latency_s": (1e3, "ms"),
    "memory_bytes": (2**-20, "MiB"),
    "macs": (1e-6, "M"),
    "params": (1e-6, "M"),
    "activations": (1e-6, "M"),
}


def page(findings: Findings) -> str:
    """The whole page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("rescale.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    figure = findings.figure
    shown = columns(figure) if figure else []
    agreed, differing = compare_recipes(findings.recipes)
    return environment.get_template("page.html.j2").render(
        findings=findings,
        columns=shown,
        lines=[(row, cells(row, shown)) for row in best_first(findings.rows)],
        headline=headline(findings),
        speedups=findings.speedup_sentences,
        agreed=agreed,
        differing=differing,
        recipe_labels=list(findings.recipes),
        settings=timing_settings(findings),
        curve=Markup(curve(findings.rows, figure, findings.timed)) if figure else "",
        version=rescale.__version__,
    )


class Column(NamedTuple):
    """A column of the page's table. first: the order of the first click on its heading."""

    title: str
    first: Literal["ascending", "descending"]
    cell: Callable[[Row], str]
    key: Callable[[Row], float | None]


def columns(figure: Figure) -> list[Column]:
    """The columns beside the networks' names, that of the headline figure first."""
    return [
        Column(
            f"{figure.label} {figure.unit}".rstrip(),
            "descending" if figure.higher_is_better else "ascending",
            lambda row: units.spread(row.value, row.value_std),
            lambda row: row.value,
        ),
        Column("latency", "ascending", lambda row: units.seconds(row.latency_s), lambda row: row.latency_s),
        Column(
            "images/s",
            "descending",
            lambda row: units.MISSING if row.images_per_s is None else units.digits(row.images_per_s),
            lambda row: row.images_per_s,
        ),
        Column(
            "memory", "ascending", lambda row: units.memory(row.memory_bytes), lambda row: row.memory_bytes
        ),
        Column("MACs", "ascending", lambda row: units.count(row.macs), lambda row: row.macs),
        Column("params", "ascending", lambda row: units.count(row.params), lambda row: row.params),
        Column("activ.", "ascending", lambda row: units.count(row.activations), lambda row: row.activations),
        Column(
            "front", "descending", lambda row: "●" if row.on_front else "", lambda row: float(row.on_front)
        ),
    ]


def headline(findings: Findings) -> str:
    """The result in a sentence or two."""
    if not findings.rows:
        return "No network has finished training yet."
    best = best_first(findings.rows)[0]
    text = f"{best.label} has the best {best.figure.label}: {_measured(best)}."
    on_front = [row for row in findings.rows if row.on_front]
    if not on_front:
        return text
    text += f" {len(on_front)} of {len(findings.rows)} networks are on the front"
    fastest = min(on_front, key=lambda row: row.latency_s or 0)
    if fastest is not best and best.latency_s and fastest.latency_s:
        ratio = units.digits(best.latency_s / fastest.latency_s)
        text += f"; its fast end, {fastest.label}, is {ratio}× as fast at {_measured(fastest)}"
    return text + "."


def _measured(row: Row) -> str:
    return units.with_unit(units.spread(row.value, row.value_std), row.figure)


def cells(row: Row, shown: Sequence[Column]) -> list[tuple[str, float]]:
    """Each column's text and what it sorts by; unknown values come last when rising."""
    keys = [column.key(row) for column in shown]
    return [
        (column.cell(row), 1e300 if key is None else key) for column, key in zip(shown, keys, strict=True)
    ]


def timing_settings(findings: Findings) -> list[tuple[str, str]]:
    """How it was timed: each setting with the values of all networks."""
    timing = findings.plan.timing
    settings = [
        (
            "protocol",
            f"begin with {plural(timing.batch, 'image')}, halve until they fit, scale to {timing.batch}",
        ),
        ("latency", f"median of {timing.repeats} steps after {timing.warmup} unmeasured ones"),
    ]
    used = [
        {"precision": t.precision, "execution mode": t.fast, **t.settings} for t in findings.timings.values()
    ]
    names = dict.fromkeys(name for t in used for name in t if name not in ("warmup", "repeats"))
    for name in names:
        values = list(dict.fromkeys(str(t[name]) for t in used if name in t))
        if len(values) > 4:
            ordered = sorted(values, key=lambda v: (len(v), v))
            values = [f"{ordered[0]} to {ordered[-1]}"]
        settings.append((name.replace("_", " "), ", ".join(values)))
    return settings


def compare_recipes(
    recipes: Mapping[str, Mapping[str, Any]],
) -> tuple[list[tuple[str, str]], list[tuple[str, dict[str, str]]]]:
    """Fields on which all resolved recipes agree, with the value; the others, with each network's value."""
    names = dict.fromkeys(name for recipe in recipes.values() for name in recipe)
    agreed, differing = [], []
    for name in names:
        values = {label: plain(recipe.get(name)) for label, recipe in recipes.items()}
        if len(shared := set(values.values())) == 1:
            agreed.append((name, shared.pop()))
        else:
            differing.append((name, values))
    return agreed, differing


def plain(value: Any) -> str:
    """A recipe's value as a person writes it."""
    if value is None:
        return units.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(plain(v) for v in value) if isinstance(value, list) else str(value)


def curve(rows: Sequence[Row], figure: Figure, timed: str) -> str:
    """The interactive curve as HTML, plotly's script within it. A menu changes the horizontal axis."""
    import plotly.graph_objects as go

    drawing = go.Figure()
    known = [name for name in MEASURES if any(getattr(row, name) is not None for row in rows)]
    owner: list[str] = []
    for name in known:
        for trace in traces(rows, name):
            drawing.add_trace(go.Scatter(visible=name == known[0], **trace))
            owner.append(name)
    titles = {name: axis_title(name, timed) for name in known}
    ticks = {name: axis_ticks(rows, name) for name in known}
    menu = [
        {
            "label": MEASURES[name],
            "method": "update",
            "args": [
                {"visible": [other == name for other in owner]},
                {"xaxis.title.text": titles[name], "xaxis.tickvals": ticks[name], "xaxis.autorange": True},
            ],
        }
        for name in known
    ]
    drawing.update_layout(
        template="plotly_white",
        height=520,
        margin={"l": 60, "r": 20, "t": 60, "b": 60},
        xaxis={"type": "log", "title": {"text": titles[known[0]]}, "tickvals": ticks[known[0]]},
        yaxis={"title": {"text": _escaped(units.axis(figure))}},
        legend={"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0},
        updatemenus=[{"buttons": menu, "x": 0, "xanchor": "left", "y": 1.03, "yanchor": "bottom"}],
        font={"family": "system-ui, sans-serif"},
    )
    drawn: str = drawing.to_html(
        full_html=False,
        include_plotlyjs=True,
        include_mathjax=False,
        div_id="pareto",
        config={"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": _NO_BUTTONS},
    )
    return drawn


def axis_ticks(rows: Sequence[Row], name: str) -> list[float]:
    """Round numbers along the horizontal axis, a little beyond the networks on both sides."""
    values = [_scale(name) * getattr(row, name) for row in rows if getattr(row, name) is not None]
    return round_ticks(0.8 * min(values), 1.25 * max(values))


def axis_title(name: str, timed: str) -> str:
    """What the horizontal axis shows, with its unit."""
    unit = _SCALES[name][1]
    what = {
        "latency_s": f"latency: {timed}",
        "memory_bytes": f"peak memory: {timed}",
        "macs": "multiply-adds an image",
    }
    return f"{what.get(name, MEASURES[name])}, {unit} (log scale)"


def _scale(name: str) -> float:
    return _SCALES[name][0]


def traces(rows: Sequence[Row], name: str) -> list[dict[str, Any]]:
    """For each group its front as a line and its networks as points, filled if on the common front."""
    scale = _scale(name)
    drawn: list[dict[str, Any]] = []
    for i, (group, best) in enumerate(fronts(rows, name).items()):
        colour, _ = style(i)
        own = [row for row in rows if row.group == group and getattr(row, name) is not None]
        drawn.append(
            {
                "x": [scale * getattr(row, name) for row in best],
                "y": [row.value for row in best],
                "mode": "lines",
                "line": {"color": colour, "width": 2},
                "hoverinfo": "skip",
                "legendgroup": group,
                "showlegend": False,
            }
        )
        drawn.append(
            {
                "x": [scale * getattr(row, name) for row in own],
                "y": [row.value for row in own],
                "error_y": {"array": [row.value_std or 0 for row in own], "thickness": 1.2, "color": colour},
                "mode": "markers",
                "marker": {
                    "color": [colour if row.on_front else "white" for row in own],
                    "line": {"color": colour, "width": 2},
                    "size": 11,
                },
                "name": group,
                "legendgroup": group,
                "text": [hover(row) for row in own],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    return drawn


def hover(row: Row) -> str:
    """The text shown when the pointer is on a network: all columns but the last, which is the front."""
    shown = [f"{_escaped(column.title)}: {column.cell(row)}" for column in columns(row.figure)[:-1]]
    front = ["on the front"] if row.on_front else []
    return "<br>".join([f"<b>{_escaped(row.label)}</b>", *shown, *front])


def _escaped(text: str) -> str:
    """Plotly reads tags in its texts; a figure may be called delta<1.25."""
    return text.replace("<", "&lt;")
