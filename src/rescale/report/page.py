"""The study as one self-contained HTML page: it needs no network connection and no other file."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import rescale
from rescale import units
from rescale.duration import clock
from rescale.errors import plural
from rescale.report.claims import headline, power, price_text, speedup_sentences, spent
from rescale.report.columns import columns
from rescale.report.figures import FIGURES, as_html, drawn
from rescale.report.findings import Findings
from rescale.report.runs import HIGH, WIDE, anchors, runs_of_networks
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
        runs=runs_of_networks(findings),
        anchors=anchors(findings),
        wide=WIDE,
        high=HIGH,
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
        figures=[
            (name, FIGURES[name], Markup(as_html(name, findings, with_script=i == 0)))
            for i, name in enumerate(drawn(findings))
        ],
        version=rescale.__version__,
    )


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
