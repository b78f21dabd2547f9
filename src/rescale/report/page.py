"""The study as one HTML page that works by itself: no network, no file beside it."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from rescale.report import units
from rescale.report.findings import Findings, said
from rescale.report.plots import round_ticks, style
from rescale.studies import Row, fronts

MEASURES = {  # what the picture's horizontal axis can be
    "latency_s": "latency",
    "memory_bytes": "memory",
    "macs": "MACs",
    "params": "parameters",
    "activations": "activations",
}
_NO_BUTTONS = ["select2d", "lasso2d", "sendChartToCloud"]  # the page talks to nobody
COLUMNS = ("top-1 %", "latency", "images/s", "memory", "MACs", "params", "activ.", "front")
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
    rows = sorted(findings.rows, key=lambda row: -row.top1)
    agreed, differing = compare_recipes(findings.recipes)
    return environment.get_template("page.html.j2").render(
        findings=findings,
        columns=COLUMNS,
        lines=[(row, list(zip(cells(row), sort_keys(row), strict=True))) for row in rows],
        headline=headline(findings),
        speedups=[said(found) for found in findings.speedups],
        agreed=agreed,
        differing=differing,
        recipe_labels=list(findings.recipes),
        settings=clock_settings(findings),
        figure=Markup(figure(findings)) if findings.rows else "",
        version=version("rescale"),
    )


def headline(findings: Findings) -> str:
    """The result in a sentence or two."""
    if not findings.rows:
        return "No network has finished training yet."
    best = max(findings.rows, key=lambda row: row.top1)
    text = f"{best.label} is the most accurate: {units.percent(best.top1, best.top1_std)} % top-1."
    on_front = [row for row in findings.rows if row.on_front]
    if not on_front:
        return text
    text += f" {len(on_front)} of {len(findings.rows)} networks are on the front"
    fastest = min(on_front, key=lambda row: row.latency_s or 0)
    if fastest is not best and best.latency_s and fastest.latency_s:
        ratio = units.digits(best.latency_s / fastest.latency_s)
        text += (
            f"; its fast end, {fastest.label}, is {ratio}× as fast as the most accurate "
            f"at {units.percent(fastest.top1, fastest.top1_std)} %"
        )
    return text + "."


def cells(row: Row) -> list[str]:
    """A row's figures, in the order of COLUMNS."""
    return [
        units.percent(row.top1, row.top1_std),
        units.seconds(row.latency_s),
        units.MISSING if row.images_per_s is None else units.digits(row.images_per_s),
        units.memory(row.memory_bytes),
        units.count(row.macs),
        units.count(row.params),
        units.count(row.activations),
        "●" if row.on_front else "",
    ]


def sort_keys(row: Row) -> list[float]:
    """What the table's columns sort by, in the order of `cells`; unknown values come last when rising."""
    values = [
        row.top1,
        row.latency_s,
        row.images_per_s,
        row.memory_bytes,
        row.macs,
        row.params,
        row.activations,
        int(row.on_front),
    ]
    return [1e300 if value is None else float(value) for value in values]


def clock_settings(findings: Findings) -> list[tuple[str, str]]:
    """How it was timed: each setting with the values that occurred."""
    timing = findings.plan.timing
    found = [
        ("protocol", f"begin with {timing.batch} images, halve until they fit, scale to {timing.batch}"),
        ("clock", f"median of {timing.repeats} steps after {timing.warmup} unmeasured ones"),
    ]
    used = [
        {"precision": t.precision, "execution mode": t.fast, **t.settings} for t in findings.timings.values()
    ]
    names = dict.fromkeys(name for one in used for name in one if name not in ("warmup", "repeats"))
    for name in names:
        values = list(dict.fromkeys(str(one[name]) for one in used if name in one))
        if len(values) > 4:
            ordered = sorted(values, key=lambda v: (len(v), v))
            values = [f"{ordered[0]} to {ordered[-1]}"]
        found.append((name.replace("_", " "), ", ".join(values)))
    return found


def compare_recipes(
    recipes: Mapping[str, Mapping[str, Any]],
) -> tuple[list[tuple[str, str]], list[tuple[str, dict[str, str]]]]:
    """Fields on which all resolved recipes agree, with the value; the others, with a value a network."""
    names = dict.fromkeys(name for one in recipes.values() for name in one)
    agreed, differing = [], []
    for name in names:
        values = {label: plain(one.get(name)) for label, one in recipes.items()}
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


def figure(findings: Findings) -> str:
    """The interactive curve as HTML, plotly's script within it. A menu changes the horizontal axis."""
    import plotly.graph_objects as go

    drawing = go.Figure()
    known = [name for name in MEASURES if any(getattr(row, name) is not None for row in findings.rows)]
    owner: list[str] = []
    for name in known:
        for trace in traces(findings.rows, name):
            drawing.add_trace(go.Scatter(visible=name == known[0], **trace))
            owner.append(name)
    titles = {name: axis_title(name, findings.clock) for name in known}
    ticks = {name: axis_ticks(findings.rows, name) for name in known}
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
        yaxis={"title": {"text": "top-1, %"}},
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
    """Round figures along the horizontal axis, a little beyond the networks on both sides."""
    values = [_scale(name) * getattr(row, name) for row in rows if getattr(row, name) is not None]
    return round_ticks(0.8 * min(values), 1.25 * max(values))


def axis_title(name: str, clock: str) -> str:
    """What the horizontal axis shows, with its unit."""
    unit = _SCALES[name][1]
    what = {
        "latency_s": f"latency: {clock}",
        "memory_bytes": f"peak memory: {clock}",
        "macs": "multiply-adds an image",
    }
    return f"{what.get(name, MEASURES[name])}, {unit} (log scale)"


def _scale(name: str) -> float:
    return _SCALES[name][0]


def traces(rows: Sequence[Row], name: str) -> list[dict[str, Any]]:
    """For each group its front as a line and its networks as points, filled if on the common front."""
    scale = _scale(name)
    found: list[dict[str, Any]] = []
    for i, (group, best) in enumerate(fronts(rows, name).items()):
        colour, _ = style(i)
        own = [row for row in rows if row.group == group and getattr(row, name) is not None]
        found.append(
            {
                "x": [scale * getattr(row, name) for row in best],
                "y": [row.top1 for row in best],
                "mode": "lines",
                "line": {"color": colour, "width": 2},
                "hoverinfo": "skip",
                "legendgroup": group,
                "showlegend": False,
            }
        )
        found.append(
            {
                "x": [scale * getattr(row, name) for row in own],
                "y": [row.top1 for row in own],
                "error_y": {"array": [row.top1_std or 0 for row in own], "thickness": 1.2, "color": colour},
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
    return found


def hover(row: Row) -> str:
    """What a point says when it is pointed at."""
    shown = [f"{column}: {cell}" for column, cell in zip(COLUMNS[:-1], cells(row), strict=False)]
    front = ["on the front"] if row.on_front else []
    return "<br>".join([f"<b>{row.label.replace('<', '&lt;')}</b>", *shown, *front])
