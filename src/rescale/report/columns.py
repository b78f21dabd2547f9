"""The columns of the page's table of networks, by the names that an analysis gives."""

import itertools
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from rescale import units
from rescale.report.claims import difference_text, image_difference_text
from rescale.report.findings import Findings
from rescale.studies import Row, short_names
from rescale.studies.plan import key_of


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
    """The analysis's columns that have something to show, beside the networks' names."""
    if not findings.rows:
        return []
    made = (COLUMNS[name](findings) for name in findings.analysis.columns)
    return [column for column in made if column is not None]


def _value(findings: Findings) -> Column:
    figure = findings.rows[0].figure
    return Column(
        f"{figure.label} {figure.unit}".rstrip(),
        "descending" if figure.higher_is_better else "ascending",
        lambda row: units.spread(row.value, row.value_std),
        lambda row: row.value,
    )


def _published(findings: Findings) -> Column | None:
    """The paper's values, which are of its data and training; in a study of rows also their differences."""
    analysis = findings.analysis
    known = analysis.published
    if not known:
        return None
    texts = {label: f"{value:.1f}" for label, value in known.items()}
    if not analysis.ranked:
        for above, row in itertools.pairwise(analysis.rows):
            if above.label in known and row.label in known:
                step = f"{known[row.label] - known[above.label]:+.1f}".replace("-", "\N{MINUS SIGN}")
                texts[row.label] += f" ({step})"
    return Column(
        "in the paper",
        "descending",
        lambda row: texts.get(row.label, units.MISSING),
        lambda row: known.get(row.label),
    )


def _difference(findings: Findings) -> Column | None:
    compared = findings.analysis.differences
    unit = units.points(findings.rows[0].figure)
    return Column(
        f"to the row above{', ' * bool(unit)}{unit}",
        "descending",
        lambda row: difference_text(compared.get(row.label), row),
        lambda row: compared[row.label].mean if row.label in compared else None,
        lambda row: "apart" if row.label in compared and compared[row.label].told_apart else "",
    )


def _over_images(findings: Findings) -> Column | None:
    compared = findings.analysis.over_images
    if not compared:
        return None
    return Column(
        "over images",
        "descending",
        lambda row: image_difference_text(compared.get(row.label), row),
        lambda row: compared[row.label].mean if row.label in compared else None,
    )


def _sign_flip(findings: Findings) -> Column | None:
    p_values = {label: d.sign_flip for label, d in findings.analysis.differences.items()}
    if all(p is None for p in p_values.values()):
        return None
    return Column(
        "sign-flip p",
        "ascending",
        lambda row: units.MISSING if (p := p_values.get(row.label)) is None else f"{p:.3f}",
        lambda row: p_values.get(row.label),
    )


def _adds(findings: Findings) -> Column:
    """What a row has that the row above has not; of the first row, all that is not common to the rows."""
    labels = [row.label for row in findings.rows]
    names = short_names([row.model for row in findings.rows])
    models = {row.label: names[row.model] for row in findings.rows}
    texts = {}
    for above, label in itertools.pairwise(["", *labels]):
        changes, before = findings.own_changes[label], findings.own_changes.get(above, [])
        replaced = {key_of(change) for change in changes}
        words = [models[label]] if models[label] != models.get(above) else []
        words += [change for change in changes if change not in before]
        words += [
            f"without {change}"
            for change in before
            if change not in changes and key_of(change) not in replaced
        ]
        texts[label] = ", ".join(words)
    return _words("adds", texts)


def _words(title: str, texts: Mapping[str, str]) -> Column:
    """A column of texts, by label."""
    return Column(
        title,
        "ascending",
        lambda row: texts[row.label] or units.MISSING,
        lambda row: texts[row.label],
        lambda row: "text",
    )


def _front(findings: Findings) -> Column:
    return Column("front", "descending", _front_text, lambda row: row.on_front + (row.front_chance or 0.0))


def _front_text(row: Row) -> str:
    """A dot on the front, and the chance of being there."""
    if row.front_chance is None:
        return "●" if row.on_front else ""
    chance = f"{100 * row.front_chance:.0f} %"
    return f"● {chance}" if row.on_front else chance


COLUMNS: Mapping[str, Callable[[Findings], Column | None]] = {
    "value": _value,
    "published": _published,
    "difference": _difference,
    "over images": _over_images,
    "sign-flip": _sign_flip,
    "adds": _adds,
    "time": lambda findings: Column(
        findings.time_name, "ascending", lambda row: units.seconds(row.latency_s), lambda row: row.latency_s
    ),
    "images/s": lambda _: Column(
        "images/s",
        "descending",
        lambda row: units.MISSING if row.images_per_s is None else units.digits(row.images_per_s),
        lambda row: row.images_per_s,
    ),
    "memory": lambda _: Column(
        "memory", "ascending", lambda row: units.memory(row.memory_bytes), lambda row: row.memory_bytes
    ),
    "MACs": lambda _: Column("MACs", "ascending", lambda row: units.count(row.macs), lambda row: row.macs),
    "params": lambda _: Column(
        "params", "ascending", lambda row: units.count(row.params), lambda row: row.params
    ),
    "activ.": lambda _: Column(
        "activ.", "ascending", lambda row: units.count(row.activations), lambda row: row.activations
    ),
    "front": _front,
}
