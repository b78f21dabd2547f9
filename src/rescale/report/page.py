"""The study as one self-contained HTML page: it needs no network connection and no other file."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import rescale
from rescale.duration import clock
from rescale.errors import plural
from rescale.report import units
from rescale.report.chart import chart
from rescale.report.claims import (
    difference_text,
    headline,
    image_difference_text,
    power,
    price_text,
    speedup_sentences,
    spent,
)
from rescale.report.findings import Findings
from rescale.studies import Row, short_names
from rescale.studies.chances import DRAWS
from rescale.studies.images import DRAWS as BOOTSTRAPS

if TYPE_CHECKING:
    from markupsafe import Markup


def page(findings: Findings) -> str:
    """The whole page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("rescale.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["breakable"] = breakable
    shown = columns(findings)
    agreed, differing = compare_recipes(findings.recipes)
    return environment.get_template("page.html.j2").render(
        findings=findings,
        columns=shown,
        lines=[(row, [column.cell(row) for column in shown]) for row in findings.rows],
        headline=headline(findings),
        power=power(findings),
        groups=len({row.group for row in findings.rows}),
        speedups=speedup_sentences(findings),
        draws=f"{DRAWS:,}",
        bootstraps=f"{BOOTSTRAPS:,}",
        one_seed=any(row.seeds == 1 for row in findings.rows),
        budgets=[
            (group, trainings, clock(seconds), price_text(seconds, findings.price_per_hour))
            for group, (trainings, seconds) in findings.budgets.items()
        ],
        spent=spent(findings),
        agreed=agreed,
        differing=differing,
        recipe_labels=list(findings.recipes),
        settings=timing_settings(findings),
        chart=Markup(chart(findings)) if findings.rows else "",
        version=rescale.__version__,
    )


class Cell(NamedTuple):
    """A cell of the table of networks. key: what it sorts by. kind: its CSS class."""

    text: str
    key: float | str
    kind: str


class Column(NamedTuple):
    """A column of the table of networks. first: the order of the first click on its heading.

    key: what a row sorts by; None is last when rising. kind: the CSS class of a row's cell.
    """

    title: str
    first: Literal["ascending", "descending"]
    text: Callable[[Row], str]
    key: Callable[[Row], float | str | None]
    kind: Callable[[Row], str] = lambda row: ""

    def cell(self, row: Row) -> Cell:
        """A row's cell."""
        key = self.key(row)
        return Cell(self.text(row), 1e300 if key is None else key, self.kind(row))


def columns(findings: Findings) -> list[Column]:
    """The columns beside the networks' names, that of the headline figure first."""
    figure = findings.figure
    if figure is None:
        return []
    value = Column(
        f"{figure.label} {figure.unit}".rstrip(),
        "descending" if figure.higher_is_better else "ascending",
        lambda row: units.spread(row.value, row.value_std),
        lambda row: row.value,
    )
    costs = _costs(findings.time_name)
    if findings.plan.by_hand:
        most_looked_at = (findings.time_name, "MACs", "params", "front")
        return [value, *_additive(findings), *(column for column in costs if column.title in most_looked_at)]
    return [value, *costs]


def _additive(findings: Findings) -> list[Column]:
    """For a plan by hand: the difference to the row above, and what the row changes."""
    compared = findings.differences
    changes = {label: ", ".join(own) for label, own in findings.own_changes.items()}
    names = short_names([row.model for row in findings.rows])
    models = {row.label: names[row.model] for row in findings.rows}
    unit = units.points(findings.rows[0].figure)
    over_images = findings.evidence.differences
    made = [
        Column(
            f"to the row above{', ' * bool(unit)}{unit}",
            "descending",
            lambda row: difference_text(compared.get(row.label), row),
            lambda row: compared[row.label].mean if row.label in compared else None,
            lambda row: "apart" if row.label in compared and compared[row.label].told_apart else "",
        )
    ]
    if over_images:
        made.append(
            Column(
                "over images",
                "descending",
                lambda row: image_difference_text(over_images.get(row.label), row),
                lambda row: over_images[row.label].mean if row.label in over_images else None,
            )
        )
    if any(difference.sign_flip is not None for difference in compared.values()):
        p_values = {label: difference.sign_flip for label, difference in compared.items()}
        made.append(
            Column(
                "sign-flip p",
                "ascending",
                lambda row: units.MISSING if (p := p_values.get(row.label)) is None else f"{p:.3f}",
                lambda row: p_values.get(row.label),
            )
        )
    if len(set(models.values())) > 1:
        made.append(_words("model", models))
    return [*made, _words("changes", changes)]


def _words(title: str, texts: Mapping[str, str]) -> Column:
    """A column of texts, by label."""
    return Column(
        title,
        "ascending",
        lambda row: texts[row.label] or units.MISSING,
        lambda row: texts[row.label],
        lambda row: "text",
    )


def _costs(time_name: str) -> list[Column]:
    return [
        Column(time_name, "ascending", lambda row: units.seconds(row.latency_s), lambda row: row.latency_s),
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
        Column("front", "descending", _front_text, lambda row: row.on_front + (row.front_chance or 0.0)),
    ]


def _front_text(row: Row) -> str:
    """A dot on the front, and the chance of being there."""
    if row.front_chance is None:
        return "●" if row.on_front else ""
    chance = f"{100 * row.front_chance:.0f} %"
    return f"● {chance}" if row.on_front else chance


def timing_settings(findings: Findings) -> list[tuple[str, str]]:
    """How it was timed: each setting with the values of all networks."""
    timing = findings.plan.timing
    settings = [
        (
            "protocol",
            f"begin with {plural(timing.batch, 'image')}, halve until they fit, scale to {timing.batch}",
        ),
        (findings.time_name, f"median of {timing.repeats} steps after {timing.warmup} unmeasured ones"),
    ]
    if len({id(t) for t in findings.timings.values()}) < len(findings.timings):
        settings.append(("the same network", "timed once, with the recipe of the first of its rows"))
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


def breakable(name: str) -> "Markup":
    """A network's name in HTML, which may be broken before a sign between its parts."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?=[-+@_:/ ])", name))


def plain(value: Any) -> str:
    """A recipe's value as a person writes it."""
    if value is None:
        return units.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(plain(v) for v in value) if isinstance(value, list) else str(value)
